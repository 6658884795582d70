"""A model's weights on their way from the disk while what will read them is still being imported."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from engine.files.atomic import NoPlainFile, open_plain
from engine.preflight.base_model import find_model_dir
from engine.spec.schema import ModelSpec
from engine.training.runtime.background import Background

STEP_BYTES = 1024**2  # the kernel reads no more for one request than it may ask of the disk at once
MEMORY_SHARE = 0.5  # of what is free; weights that need more would push each other out again


def prefetch_weights(model: ModelSpec) -> None:
    """Have the kernel fetch the weights of `model`, as far as they lie here, and go on at once.

    Of those that are in memory already it takes a few milliseconds to see that.
    """
    directory = find_model_dir(model.path)
    if directory is not None and sys.platform == "linux":
        Background(lambda _: prefetch_files(sorted(directory.glob("*.safetensors"))))


def prefetch_files(files: list[Path]) -> None:
    """Ask the kernel for all of `files`, if there is memory for them; what cannot be read is for others to tell."""
    with suppress(OSError):
        if sum(file.stat().st_size for file in files) > MEMORY_SHARE * psutil.virtual_memory().available:
            return
    for file in files:
        with suppress(OSError, NoPlainFile), open_plain(file, follow_link=True) as stream:
            descriptor = stream.fileno()
            for start in range(0, os.fstat(descriptor).st_size, STEP_BYTES):
                os.posix_fadvise(descriptor, start, STEP_BYTES, os.POSIX_FADV_WILLNEED)

"""Prefetch of a model's weights from the disk while the libraries that read them are imported."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from engine.files.atomic import NoPlainFile, open_plain
from engine.preflight.base_model import find_model_dir
from engine.spec.schema import ModelSpec
from engine.system.allowance import memory
from engine.training.runtime.background import Background

STEP_BYTES = 1024**2  # per request the kernel reads at most what it may request from the disk at once
MEMORY_SHARE = 0.5  # of the free memory; larger weights would evict each other


def prefetch_weights(model: ModelSpec) -> None:
    """Have the kernel read the weights of a local `model` in the background.

    If they are in memory already, this takes a few milliseconds.
    """
    directory = find_model_dir(model.path, revision=model.revision)
    if directory is not None and sys.platform == "linux":
        Background(lambda _: prefetch_files(sorted(directory.glob("*.safetensors"))))


def prefetch_files(files: list[Path]) -> None:
    """Have the kernel read all of `files` if they fit into memory; the loading reports those that cannot be read."""
    with suppress(OSError):
        if sum(file.stat().st_size for file in files) > MEMORY_SHARE * memory().available:
            return
    for file in files:
        with suppress(OSError, NoPlainFile), open_plain(file, follow_link=True) as stream:
            descriptor = stream.fileno()
            for start in range(0, os.fstat(descriptor).st_size, STEP_BYTES):
                os.posix_fadvise(descriptor, start, STEP_BYTES, os.POSIX_FADV_WILLNEED)

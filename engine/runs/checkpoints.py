"""Find a run's checkpoints and check that each is whole, without torch.

A checkpoint is a directory `checkpoint-<step>`. Its manifest, written last, holds every file's size and SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.files.atomic import open_plain, read_plain
from engine.files.paths import CHECKPOINT_NAME

MANIFEST, STATE = "manifest.json", "state.json"
ADAPTER, TENSORS = "adapter_model.safetensors", "training_state.safetensors"
NEEDED = frozenset({ADAPTER, TENSORS, STATE})


class FileRecord(Struct, frozen=True):
    """One line of a manifest; `size` in bytes."""

    size: int
    sha256: str


class _Step(Struct, frozen=True):
    """The part of `state.json` that says which checkpoint it belongs to."""

    step: int


def write_manifest(directory: Path) -> None:
    """Record every file that is in `directory` now."""
    manifest = {file.name: _record(file) for file in sorted(directory.iterdir()) if file.is_file()}
    (directory / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def checkpoint_step(checkpoint: Path) -> int:
    """Return the step that a checkpoint directory was written after."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoints_in(parent: Path) -> dict[int, Path]:
    """Return the checkpoint directories by step, whole or damaged, in no order; links are left out."""
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return {}
    return {int(match[1]): parent / name for name in names if (match := CHECKPOINT_NAME.fullmatch(name))}


def newest_valid_checkpoint(parent: Path) -> tuple[Path | None, list[Path]]:
    """Return the whole checkpoint of the highest step, None without one, and the damaged checkpoints of later steps."""
    damaged: list[Path] = []
    for _, path in sorted(checkpoints_in(parent).items(), reverse=True):
        if is_valid(path):
            return path, damaged
        damaged.append(path)
    return None, damaged


def is_valid(checkpoint: Path) -> bool:
    """Check that a checkpoint has all the files it needs, and that each is as the manifest says."""
    try:
        manifest = msgspec.json.decode(read_plain(checkpoint / MANIFEST), type=dict[str, FileRecord])
        if not manifest.keys() >= NEEDED or any(name != os.path.basename(name) for name in manifest):
            return False
        if any(_record(checkpoint / name) != record for name, record in manifest.items()):
            return False
        return msgspec.json.decode(read_plain(checkpoint / STATE), type=_Step).step == checkpoint_step(checkpoint)
    except (OSError, ValueError, RecursionError):  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        return False


def _record(file: Path) -> FileRecord:
    with open_plain(file) as stream:
        return FileRecord(os.fstat(stream.fileno()).st_size, hashlib.file_digest(stream, "sha256").hexdigest())

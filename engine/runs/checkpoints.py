"""What a checkpoint is made of and whether it is whole, told without torch.

A checkpoint is a directory `checkpoint-<step>`. Its manifest, written last, holds every file's size and SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.files.atomic import open_plain, read_plain

MANIFEST, STATE = "manifest.json", "state.json"
ADAPTER, TENSORS = "adapter_model.safetensors", "training_state.safetensors"
NEEDED = frozenset({ADAPTER, TENSORS, STATE})


class FileRecord(Struct, frozen=True):
    """One line of a manifest; `size` in bytes."""

    size: int
    sha256: str


class _Step(Struct, frozen=True):
    """Of `state.json` what tells whose it is."""

    step: int


def write_manifest(directory: Path) -> None:
    """Record every file that is in `directory` now."""
    manifest = {file.name: _record(file) for file in sorted(directory.iterdir()) if file.is_file()}
    (directory / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def checkpoint_step(checkpoint: Path) -> int:
    """The step a checkpoint directory was written after."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoints_in(parent: Path) -> dict[int, Path]:
    """The checkpoint directories by step, whole or not, in no order. A link is none."""
    found = (path for path in parent.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal())
    steps = {checkpoint_step(path): path for path in found if path.is_dir() and not path.is_symlink()}
    return {step: path for step, path in steps.items() if path.name == f"checkpoint-{step}"}


def newest_valid_checkpoint(parent: Path) -> tuple[Path | None, list[Path]]:
    """The checkpoint of the highest step that is whole, None if there is none; and the damaged ones of later steps."""
    damaged: list[Path] = []
    for _, path in sorted(checkpoints_in(parent).items(), reverse=True):
        if is_valid(path):
            return path, damaged
        damaged.append(path)
    return None, damaged


def is_valid(checkpoint: Path) -> bool:
    """Whether it has all that a checkpoint needs, and every file is as its manifest says."""
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

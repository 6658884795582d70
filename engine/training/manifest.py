"""What a checkpoint is made of and whether it is whole, told without torch.

A checkpoint is a directory `checkpoint-<step>`. Its manifest, written last, holds every file's size and SHA-256.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct

MANIFEST = "manifest.json"


class FileRecord(Struct, frozen=True):
    """One line of a manifest; `size` in bytes."""

    size: int
    sha256: str


def write_manifest(directory: Path) -> None:
    """Record every file that is in `directory` now."""
    manifest = {file.name: _record(file) for file in sorted(directory.iterdir()) if file.is_file()}
    (directory / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def checkpoint_step(checkpoint: Path) -> int:
    """The step a checkpoint directory was written after."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoints_in(parent: Path) -> dict[int, Path]:
    """The checkpoint directories by step, whole or not, in no order."""
    found = (path for path in parent.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal())
    return {checkpoint_step(path): path for path in found}


def newest_valid_checkpoint(parent: Path) -> Path | None:
    """The checkpoint of the highest step whose every file is as its manifest says; None if there is none."""
    for _, path in sorted(checkpoints_in(parent).items(), reverse=True):
        if is_valid(path):
            return path
        print(f"{path.name} is damaged and passed over", flush=True)
    return None


def is_valid(checkpoint: Path) -> bool:
    """Whether the manifest is there and every file it names is whole."""
    try:
        manifest = msgspec.json.decode((checkpoint / MANIFEST).read_bytes(), type=dict[str, FileRecord])
        return bool(manifest) and all(_record(checkpoint / name) == record for name, record in manifest.items())
    except (OSError, ValueError, RecursionError):  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        return False


def _record(file: Path) -> FileRecord:
    with file.open("rb") as stream:
        return FileRecord(file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())

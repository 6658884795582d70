"""Directories written whole or not at all: staged under another name, forced to disk, and renamed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.files.atomic import sync


def write_directory(target: Path, write: Callable[[Path], None]) -> None:
    """Have `write(directory)` fill a directory, then put it at `target` in one rename; what was there goes after."""
    staged, old = target.with_name(f".{target.name}.staged"), target.with_name(f".{target.name}.old")
    for left_over in (staged, old):
        _remove(left_over)
    staged.mkdir(parents=True)
    try:
        write(staged)
        for file in staged.iterdir():
            sync(file)
        sync(staged)
        if target.exists() or target.is_symlink():
            target.rename(old)
        staged.rename(target)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    sync(target.parent)
    _remove(old)


def _remove(path: Path) -> None:
    """Delete what is there, a link itself and not what it leads to; what cannot be deleted is in nobody's way."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

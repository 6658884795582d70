"""Write directories whole or not at all: under another name first, forced to disk, then renamed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.files.atomic import sync
from engine.files.ownership import make_directory


def write_directory(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write(directory)` fill a directory, then rename it to `target`; delete an earlier `target`."""
    new, old = target.with_name(f".{target.name}.staged"), target.with_name(f".{target.name}.old")
    for remains in (new, old):
        _remove(remains)
    make_directory(new, parents=True)
    try:
        write(new)
        for file in new.iterdir():
            sync(file)
        sync(new)
        if target.exists() or target.is_symlink():
            target.rename(old)
        new.rename(target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    sync(target.parent)
    _remove(old)


def _remove(path: Path) -> None:
    """Delete a file, directory or link (not the target of a link) if possible; nothing depends on it."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

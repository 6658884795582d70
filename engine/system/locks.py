"""File locks that a child process can inherit (flock(2))."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from engine.files.ownership import open_writable


def acquire_inheritable_lock(path: Path) -> int | None:
    """Lock a file and return a descriptor that a child can inherit; None if another process holds the lock.

    The lock lasts until every process that has the descriptor has closed it or ended, however it ended.

    Raises:
        OSError: the file cannot be created or opened, or is a link.
    """
    descriptor = open_writable(path, os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def inherit_lock(variable: str, path: Path) -> int | None:
    """Return the descriptor of the lock on `path` that this process inherited, which its children will not inherit.

    The environment's `variable` has its number; it is removed there. None if no lock on that very file was inherited.
    """
    try:
        descriptor = int(os.environ.pop(variable, ""))
        inherited, lock = os.fstat(descriptor), os.stat(path)
    except (ValueError, OSError):
        return None
    if (inherited.st_dev, inherited.st_ino) != (lock.st_dev, lock.st_ino):
        return None
    os.set_inheritable(descriptor, False)
    return descriptor


def release(descriptor: int) -> None:
    """Release a lock, even if another process still has the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return True if some process holds the lock on a file."""
    try:
        descriptor = acquire_inheritable_lock(path) if path.exists() else None
    except OSError:
        return False
    if descriptor is not None:
        os.close(descriptor)
        return False
    return path.exists()

"""File locks that a child process can inherit (flock(2))."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def acquire_inheritable_lock(path: Path) -> int | None:
    """Lock a file and return a descriptor that a child can inherit; None if another process holds the lock.

    The lock lasts until every process that has the descriptor has closed it or ended, however it ended.

    Raises:
        OSError: the file cannot be created or opened, or is a link.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


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

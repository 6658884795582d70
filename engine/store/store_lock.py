"""The lock of `experiments.json`, which a writer holds from its reading to its replacing of the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import StoreError, reason_of
from engine.files.ownership import hand_over
from engine.store.json_storage import AtomicJSONStorage

if TYPE_CHECKING:
    from filelock import FileLock

LOCK_SECONDS = 30.0
POLL_SECONDS = 0.01


class StoreLock:
    """The lock of one store, for any number of processes and threads."""

    def __init__(self, storage: AtomicJSONStorage) -> None:
        self._storage = storage
        self._locks: dict[Path, FileLock] = {}

    @property
    def path(self) -> Path:
        """Return its path, beside the file itself, so that two workspaces with links to one file share the lock."""
        target = self._storage.target
        return target.with_name(f"{target.name}.lock")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; raises StoreError if it cannot be had."""
        from filelock import FileLock, Timeout  # a reader does not wait for it

        path = self.path
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise StoreError(f"{path.parent} cannot be written to: choose another workspace")
        lock = self._locks.setdefault(
            path, FileLock(path, timeout=LOCK_SECONDS, poll_interval=POLL_SECONDS, mode=0o600)
        )
        try:
            lock.acquire()
        except Timeout as error:
            raise StoreError(f"{path} has been held by another process for {LOCK_SECONDS:.0f} s: try again") from error
        except PermissionError as error:
            raise StoreError(
                f"{path} cannot be used as a lock: {reason_of(error)}; only the owner can change a workspace: use "
                f"--readonly to look at it"
            ) from error
        except OSError as error:
            raise StoreError(f"{path} cannot be used as a lock: {reason_of(error)}") from error
        hand_over(path)
        try:
            yield
        finally:
            try:
                lock.release()
            except OSError:  # the write is done; try once more, else the lock is free when the process ends
                with suppress(OSError):
                    lock.release(force=True)

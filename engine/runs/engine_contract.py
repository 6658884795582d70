"""Define what the runner and the engine agree on: environment variables, exit code, lock, heartbeat."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

from engine.files.ownership import open_writable
from engine.files.paths import RunDir

RUN_VARIABLE = "LORATUI_RUN"  # `run_key`, in the environment of the engine and of all that it starts
LOCK_VARIABLE = "LORATUI_LOCK_FD"
EXIT_MUTE = 4  # of an engine whose events the disk refused
BEAT_SECONDS = 5.0


def run_key(run: RunDir) -> str:
    """Return what names a run directory wherever it is moved, and no copy of it; "" if it does not exist."""
    try:
        status = os.stat(run.path)
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def last_beat(run: RunDir) -> int | None:
    """Return when a run gave its last sign of life, in nanoseconds of the file system's clock; None if it gave none.

    The file is opened, since NFS may answer `stat` from a memory that is a minute old.
    """
    try:
        descriptor = os.open(run.heartbeat, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


class Heartbeat:
    """A thread that touches `path` every `BEAT_SECONDS` while the context lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Stop the thread."""
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # even a full disk lets an existing file be touched
                os.close(open_writable(self._path, os.O_WRONLY))
                os.utime(self._path, follow_symlinks=False)
            if self._over.wait(BEAT_SECONDS):
                return

"""What the runner and the engine agree on: environment variables, exit code, lock, heartbeat."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

from engine.files.paths import FILE_MODE, RunDir

RUN_VARIABLE = "LORATUI_RUN"  # the run directory, in the environment of the engine and of all that it starts
LOCK_VARIABLE = "LORATUI_LOCK_FD"
EXIT_MUTE = 4  # of an engine whose events the disk refused
BEAT_SECONDS = 5.0


def inherit_lock(run: RunDir) -> bool:
    """In an engine: whether it was given the lock of `run` when it was started, which it then keeps to itself."""
    try:
        descriptor = int(os.environ.pop(LOCK_VARIABLE, ""))
        given, there = os.fstat(descriptor), os.stat(run.lock)
    except (ValueError, OSError):
        return False
    if (given.st_dev, given.st_ino) != (there.st_dev, there.st_ino):
        return False
    os.set_inheritable(descriptor, False)
    return True


class Heartbeat:
    """Touches `path` every `BEAT_SECONDS` from a thread, for as long as the context lasts."""

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
        """Beat no more."""
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # a full disk still lets a file that is there be touched
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE))
                os.utime(self._path, follow_symlinks=False)
            if self._over.wait(BEAT_SECONDS):
                return

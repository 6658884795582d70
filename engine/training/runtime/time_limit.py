"""A time limit for foreign Python code that may loop for ever, in any thread."""

from __future__ import annotations

import ctypes
import threading
import time

POLL_SECONDS = 0.25


class TimeLimitExceeded(BaseException):
    """Raised in the code that took too long; not an Exception, so that the code does not catch it itself."""


class TimeLimit:
    """A context manager that raises TimeLimitExceeded in its block after `seconds`.

    A signal would only reach the main thread. A single call into C is not interrupted.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._block: tuple[int, float] | None = None  # its thread, and its deadline
        self._watching = False

    def __enter__(self) -> None:
        with self._lock:
            self._block = (threading.get_ident(), time.monotonic() + self._seconds)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._block = None

    def _watch(self) -> None:
        """Poll until the block is left; a new thread for each block would cost more than most blocks."""
        while True:
            time.sleep(POLL_SECONDS)
            with self._lock:
                if self._block is None:
                    self._watching = False
                    return
                thread, end = self._block
                if time.monotonic() > end:
                    self._block = None
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread), ctypes.py_object(TimeLimitExceeded)
                    )

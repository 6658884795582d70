"""An end to Python code of somebody else's that may loop for ever, in whichever thread it runs."""

from __future__ import annotations

import ctypes
import threading
import time

POLL_SECONDS = 0.25


class TookTooLong(BaseException):
    """Raised in the code that took too long; no `except Exception` of its own swallows it."""


class TimeLimit:
    """`with limit:` raises TookTooLong in its block once that has taken `seconds`.

    A signal would only reach the main thread. What a single call into C takes is not cut short.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._block: tuple[int, float] | None = None  # the thread that is in it, and when it is to be out
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
        """Until a look finds nobody in the block; a thread for each block would cost more than most blocks."""
        while True:
            time.sleep(POLL_SECONDS)
            with self._lock:
                if self._block is None:
                    self._watching = False
                    return
                thread, end = self._block
                if time.monotonic() > end:
                    self._block = None
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TookTooLong))

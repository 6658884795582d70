"""Work in a thread of its own, while the main thread waits for the disk or the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

T = TypeVar("T")
ReportProgress = Callable[[int, int], None]
POLL_SECONDS = 0.1


class Background(Generic[T]):
    """Starts `work(progress)` in a daemon thread, which does not delay the end of the process."""

    def __init__(self, work: Callable[[ReportProgress], T]) -> None:
        self._future: Future[T] = Future()
        self._state = (0, 0)
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[ReportProgress], T]) -> None:
        try:
            self._future.set_result(work(self._set_progress))
        except BaseException as error:
            self._future.set_exception(error)

    def _set_progress(self, done: int, total: int) -> None:
        self._state = (done, total)

    def result(self, progress: ReportProgress) -> T:
        """Wait for the result, or raise the error of the work; `progress(done, total)` may raise to end the wait."""
        while wait([self._future], POLL_SECONDS).not_done:
            progress(*self._state)
        progress(*self._state)
        return self._future.result()

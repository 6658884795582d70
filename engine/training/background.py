"""Work that goes on in a thread of its own while the main one waits for the disk or the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Progress = Callable[[int, int], None]
POLL_SECONDS = 0.1


class Background(Generic[T]):
    """Starts `work(progress)`; the thread is forgotten, not waited for, when the process ends."""

    def __init__(self, work: Callable[[Progress], T]) -> None:
        self._work = work
        self._state = (0, 0)
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work(self._note)
        except BaseException as error:
            self._error = error

    def _note(self, done: int, total: int) -> None:
        self._state = (done, total)

    def result(self, progress: Progress) -> T:
        """What the work came to, or the error it raised; `progress` is told how far it is, and may end the wait."""
        while True:
            self._thread.join(POLL_SECONDS)
            progress(*self._state)
            if not self._thread.is_alive():
                break
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

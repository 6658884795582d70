"""The signals that end a run, as a flag between steps or as an exception in a long call."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INSIST_SECONDS = 1.0


class StopWanted(BaseException):
    """The run is to end now. No `except Exception` of a library that is loading something may swallow it."""


class StopSignal:
    """SIGINT is the person's stop, SIGTERM and SIGUSR1 the machine's (shutdown, preemption): a flag that the recipe
    asks between steps.

    Within `at_once` the signal itself raises StopWanted, as imports and downloads ask no flag. It is raised again
    every `INSIST_SECONDS` until `at_once` is left: a signal that comes just before a system call waits does not end the
    waiting, and an exception raised inside a finaliser is lost.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.by_person = False
        self._at_once = False

    def listen(self) -> None:
        """Take the signals from here on; a lost terminal ends nothing."""
        for stopping in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(stopping, self._receive)
        signal.signal(signal.SIGALRM, self._insist)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        self.by_person = self.by_person or number == signal.SIGINT
        if self._at_once:
            signal.setitimer(signal.ITIMER_REAL, INSIST_SECONDS, INSIST_SECONDS)
            raise StopWanted

    def _insist(self, number: int, frame: FrameType | None) -> None:
        if self._at_once:
            raise StopWanted

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While nothing is written that must be whole: raises StopWanted as soon as the run is to end."""
        before, self._at_once = self._at_once, True
        try:
            if self.wanted:
                raise StopWanted
            yield
        finally:
            self._at_once = before
            if self.wanted and not before:
                signal.setitimer(signal.ITIMER_REAL, 0)

"""The signals that end a run, as a flag between steps or as an exception in a long call."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INSIST_SECONDS = 1.0


class StopRequested(BaseException):
    """Raised when the run has to end; not an Exception, so that no library catches it while it loads something."""


class StopSignal:
    """A flag, checked between steps, that signals set: SIGINT for a person's stop, SIGTERM and SIGUSR1 for the
    machine's (shutdown, preemption).

    Within `interruptible` the signal itself raises StopRequested, as imports and downloads check no flag. It is raised
    again every `INSIST_SECONDS` until `interruptible` is left: a signal that comes just before a system call blocks
    does not end the wait, and an exception raised inside a finaliser is lost.
    """

    def __init__(self) -> None:
        self.requested = False
        self.by_person = False
        self._interruptible = False

    def listen(self) -> None:
        """Handle the signals from now on, and ignore the loss of the terminal."""
        for stopping in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(stopping, self._receive)
        signal.signal(signal.SIGALRM, self._insist)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.by_person = self.by_person or number == signal.SIGINT
        if self._interruptible:
            signal.setitimer(signal.ITIMER_REAL, INSIST_SECONDS, INSIST_SECONDS)
            raise StopRequested

    def _insist(self, number: int, frame: FrameType | None) -> None:
        if self._interruptible:
            raise StopRequested

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise StopRequested within the block as soon as the run has to end; for work that may break off anywhere."""
        before, self._interruptible = self._interruptible, True
        try:
            if self.requested:
                raise StopRequested
            yield
        except Exception as error:
            if self.requested:  # a library made another error of it: Python's class creation does, before 3.12
                raise StopRequested from error
            raise
        finally:
            self._interruptible = before
            if self.requested and not before:
                signal.setitimer(signal.ITIMER_REAL, 0)

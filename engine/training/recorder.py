"""What the recipe tells the world, and what the world may tell the recipe."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from engine.events import AnyEvent, Interrupted, Phase, Stopped, Warned
from engine.redaction import redact
from engine.runlog import EventWriter

PHASE_SECONDS = 0.25
INSIST_SECONDS = 1.0

PhaseName = Literal[
    "loading", "tokenising", "evaluating base", "training", "evaluating", "sampling", "answering", "saving"
]


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


class Recorder:
    """Appends events, phases at most every `PHASE_SECONDS`, and lines of the log."""

    def __init__(self, writer: EventWriter, stop: StopSignal, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._stop = stop
        self._clock = clock
        self._last_phase: tuple[str, float] = ("", 0.0)

    @property
    def stop(self) -> StopSignal:
        return self._stop

    def append(self, event: AnyEvent) -> None:
        self._writer.append(event)

    def warn(self, message: str) -> None:
        message = redact(message)
        self.log(f"warning: {message}")
        self.append(Warned(time=time.time(), message=message))

    def ended_early(self, step: int, when: str) -> None:
        """Say who ended the run, `step` being the last one done."""
        if self._stop.by_person:
            self.append(Stopped(time=time.time(), step=step, message=f"stopped {when}"))
        else:
            message = f"interrupted by the machine {when}: resume it"
            self.append(Interrupted(time=time.time(), step=step, message=message))

    def log(self, line: str) -> None:
        print(line, flush=True)

    def phase(self, name: PhaseName, done: int = 0, total: int = 0) -> None:
        """Say what is being done outside the steps; raises StopWanted if the run is to end."""
        if self._stop.wanted:
            raise StopWanted
        last, at = self._last_phase
        now = self._clock()
        if name != last or now - at >= PHASE_SECONDS or done == total > 0:
            if name != last:
                self.log(f"{name} ...")
            self._last_phase = (name, now)
            self.append(Phase(time=time.time(), name=name, done=done, total=total))

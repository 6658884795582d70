"""What the recipe tells the world, and what the world may tell the recipe."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal

from engine.events import AnyEvent, Phase, Warned
from engine.runlog import EventWriter

PHASE_SECONDS = 0.25

PhaseName = Literal["loading", "tokenising", "evaluating base", "training", "evaluating", "saving"]


class StopWanted(Exception):
    """The run is to end before its first step; `by_person` tells a stop from an interruption."""

    def __init__(self, by_person: bool) -> None:
        super().__init__()
        self.by_person = by_person


class StopSignal:
    """SIGTERM is the person's stop, SIGUSR1 the machine's (preemption). Both only set a flag that the recipe asks."""

    def __init__(self) -> None:
        self.wanted = False
        self.by_person = False

    def listen(self) -> None:
        """Take the signals from here on; a lost terminal or its Ctrl+C ends nothing."""
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGUSR1, self._receive)
        for ignored in (signal.SIGHUP, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        self.by_person = self.by_person or number == signal.SIGTERM


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
        self.log(f"warning: {message}")
        self.append(Warned(time=time.time(), message=message))

    def log(self, line: str) -> None:
        print(line, flush=True)

    def phase(self, name: PhaseName, done: int = 0, total: int = 0) -> None:
        """Say what is being done outside the steps; raises StopWanted if the run is to end."""
        if self._stop.wanted:
            raise StopWanted(self._stop.by_person)
        last, at = self._last_phase
        now = self._clock()
        if name != last or now - at >= PHASE_SECONDS or done == total > 0:
            if name != last:
                self.log(f"{name} ...")
            self._last_phase = (name, now)
            self.append(Phase(time=time.time(), name=name, done=done, total=total))

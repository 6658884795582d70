"""The events and log lines that a round writes, and the stop that may reach it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from engine.runs.event_log import EventWriter
from engine.runs.events import AnyEvent, Interrupted, Phase, Stopped, Warned
from engine.text.redact import redact
from engine.training.loop.stop import StopRequested, StopSignal

PHASE_SECONDS = 0.25

PhaseName = Literal[
    "loading", "tokenising", "evaluating base", "training", "evaluating", "sampling", "answering", "saving"
]


class Recorder:
    """Appends events and log lines; phases at most every `PHASE_SECONDS`."""

    def __init__(self, writer: EventWriter, stop: StopSignal, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._stop = stop
        self._clock = clock
        self._last_phase: tuple[str, float] = ("", 0.0)

    @property
    def stop(self) -> StopSignal:
        """The signal that ends the run."""
        return self._stop

    def append(self, event: AnyEvent) -> None:
        """Write an event."""
        self._writer.append(event)

    def warn(self, message: str) -> None:
        """Write a warning as an event and in the log, without secrets."""
        message = redact(message)
        self.log(f"warning: {message}")
        self.append(Warned(time=time.time(), message=message))

    def record_early_end(self, step: int, when: str) -> None:
        """Record whether a person or the machine ended the run; `step` is the last one taken."""
        if self._stop.by_person:
            self.append(Stopped(time=time.time(), step=step, message=f"stopped {when}"))
        else:
            message = f"interrupted by the machine {when}: resume it"
            self.append(Interrupted(time=time.time(), step=step, message=message))

    def log(self, line: str) -> None:
        """Print a line of the log."""
        print(line, flush=True)

    def phase(self, name: PhaseName, done: int = 0, total: int = 0) -> None:
        """Record what is being done outside the steps; raises StopRequested if the run has to end."""
        if self._stop.requested:
            raise StopRequested
        last, at = self._last_phase
        now = self._clock()
        if name != last or now - at >= PHASE_SECONDS or done == total > 0:
            if name != last:
                self.log(f"{name} ...")
            self._last_phase = (name, now)
            self.append(Phase(time=time.time(), name=name, done=done, total=total))

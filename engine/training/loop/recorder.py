"""What the recipe tells the world, and what the world may tell the recipe."""

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

    def record_early_end(self, step: int, when: str) -> None:
        """Say who ended the run, `step` being the last one done."""
        if self._stop.by_person:
            self.append(Stopped(time=time.time(), step=step, message=f"stopped {when}"))
        else:
            message = f"interrupted by the machine {when}: resume it"
            self.append(Interrupted(time=time.time(), step=step, message=message))

    def log(self, line: str) -> None:
        print(line, flush=True)

    def phase(self, name: PhaseName, done: int = 0, total: int = 0) -> None:
        """Say what is being done outside the steps; raises StopRequested if the run is to end."""
        if self._stop.requested:
            raise StopRequested
        last, at = self._last_phase
        now = self._clock()
        if name != last or now - at >= PHASE_SECONDS or done == total > 0:
            if name != last:
                self.log(f"{name} ...")
            self._last_phase = (name, now)
            self.append(Phase(time=time.time(), name=name, done=done, total=total))

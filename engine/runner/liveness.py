"""A sign of life: a file that a process touches every few seconds, and what it means when that stops.

A process that was frozen, or whose machine swaps, does not beat; one whose main thread waits for ever still does. So a
run is also asked for its steps. Time is what the watching process has lived through: a clock that is set, or a machine
that slept, makes no run look dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from engine.files.paths import RunDir
from engine.runs.curve import Steps
from engine.runs.events import AnyEvent, Phase, Step


class StallLimits(Struct, frozen=True):
    """How long a run may go without a sign of life, in seconds, before it is said, and before it is ended.

    A step may take `step_said`, or `step_said_times` the longest step so far if that is more; likewise for the end.
    """

    beat_said: float = 60.0
    beat_ended: float = 600.0
    step_said: float = 600.0
    step_said_times: float = 20.0
    step_ended: float = 3600.0
    step_ended_times: float = 100.0


class Stall(Struct, frozen=True):
    """What an engine lacks ("has taken no step"), for how many seconds by now, and whether it is past hope."""

    missing: str
    seconds: float
    hopeless: bool


class LivenessMonitor:
    """Watches the signs of life of one run. `clock` gives seconds that this process lived through."""

    def __init__(
        self, run: RunDir, patience: StallLimits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = run
        self._patience = patience or StallLimits()
        self._clock = clock
        self._training = False
        self.step_seconds = 0.0
        self._beat = self._last_beat()
        self._beat_at = self._step_at = clock()

    def take(self, events: Iterable[AnyEvent | Steps]) -> None:
        """Take the run's new events; those from before it was watched count as new, too."""
        now = self._clock()
        for event in events:
            match event:
                case Step():
                    self._training, self.step_seconds = True, max(self.step_seconds, event.seconds)
                case Steps():
                    self._training, self.step_seconds = True, max(self.step_seconds, max(event.curve.seconds))
                case Phase():
                    self._training = event.name == "training"
                case _:
                    continue
            self._step_at = self._beat_at = now

    def look(self) -> Stall | None:
        """What is missing by now, if it has been missing for too long."""
        now, patience = self._clock(), self._patience
        if (beat := self._last_beat()) != self._beat:
            self._beat, self._beat_at = beat, now
        silent = now - self._beat_at
        if beat is not None and silent > patience.beat_said:
            return Stall("has shown no sign of life", silent, silent > patience.beat_ended)
        waited = now - self._step_at
        if self._training and waited > max(patience.step_said, patience.step_said_times * self.step_seconds):
            limit = max(patience.step_ended, patience.step_ended_times * self.step_seconds)
            return Stall("has taken no step", waited, waited > limit)
        return None

    def _last_beat(self) -> int | None:
        try:
            return self._run.heartbeat.stat().st_mtime_ns
        except OSError:
            return None

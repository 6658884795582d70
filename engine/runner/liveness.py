"""Signs of life of a run: a heartbeat file that its process touches every few seconds, and its training steps.

A process that is frozen, or whose machine swaps, has no heartbeat; one whose main thread waits for ever still has. So
both are watched. Time is measured by the watching process while it runs: a clock that is set, or a machine that slept,
makes no run look dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from engine.files.paths import RunDir
from engine.runs.curve import Steps
from engine.runs.engine_contract import last_beat
from engine.runs.events import AnyEvent, Phase, Step


class StallLimits(Struct, frozen=True):
    """The seconds without a sign of life after which a run is reported as stalled, and after which it is killed.

    A step may take `step_warned`, or `step_warned_times` the longest step so far if that is more; likewise for
    `step_ended`.
    """

    beat_warned: float = 60.0
    beat_ended: float = 600.0
    step_warned: float = 600.0
    step_warned_times: float = 20.0
    step_ended: float = 3600.0
    step_ended_times: float = 100.0


class Stall(Struct, frozen=True):
    """A missing sign of life ("has taken no step"), the seconds since the last one, and whether to kill the engine."""

    missing: str
    seconds: float
    hopeless: bool


class LivenessMonitor:
    """Watches the signs of life of one run. `clock` returns seconds during which this process ran."""

    def __init__(
        self, run: RunDir, limits: StallLimits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = run
        self._limits = limits or StallLimits()
        self._clock = clock
        self._training = False
        self.step_seconds = 0.0
        self._beat = last_beat(self._run)
        self._beat_at = self._step_at = clock()

    def take(self, events: Iterable[AnyEvent | Steps]) -> None:
        """Take the run's new events; those from before the watch began count from now."""
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
        """Return the sign of life that has been missing for too long, None if there is one."""
        now, limits = self._clock(), self._limits
        if (beat := last_beat(self._run)) != self._beat:
            self._beat, self._beat_at = beat, now
        silent = now - self._beat_at
        if beat is not None and silent > limits.beat_warned:
            return Stall("has shown no sign of life", silent, silent > limits.beat_ended)
        waited = now - self._step_at
        if self._training and waited > max(limits.step_warned, limits.step_warned_times * self.step_seconds):
            limit = max(limits.step_ended, limits.step_ended_times * self.step_seconds)
            return Stall("has taken no step", waited, waited > limit)
        return None

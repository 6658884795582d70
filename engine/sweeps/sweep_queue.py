"""Queue the trials of sweeps, one at a time, when nothing else waits: the part of the runner that knows of sweeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from engine.errors import LoratuiError, StoreError
from engine.files.paths import Workspace
from engine.queueing import queue_round
from engine.spec.round import Round, Trial
from engine.store.round_store import RoundStore
from engine.sweeps.progress import NextTrial, Progress, progresses, wants_trial
from engine.sweeps.sampling import Sampler
from engine.sweeps.space import Point, short_name
from engine.sweeps.sweep import SweepStore

PAUSE_SECONDS = 5.0  # after a trial that could not be queued
MOST_FAILURES = 3  # in a row, before a sweep is stopped


class SweepQueue:
    """Queues trials for one runner; choosing one may take seconds, so `look` begins it and comes back to it."""

    def __init__(
        self,
        workspace: Workspace,
        store: RoundStore,
        sampler: Sampler | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspace, self._store = workspace, store
        self._sweeps = SweepStore(workspace)
        self._sampler = sampler or Sampler()
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "sampler")
        self._choice: tuple[int, Future[dict[str, str] | None]] | None = None
        self._failures: dict[int, int] = {}
        self._next_look_at = 0.0

    def wants_trial(self) -> bool:
        """Return True if a sweep has a round to queue, now or later."""
        return self._choice is not None or wants_trial(self._workspace, self._store)

    def look(self) -> Round | None:
        """Queue a trial if one was chosen, else begin to choose one; return the round that was queued."""
        if self._clock() < self._next_look_at or not self._workspace.sweeps_dir.exists():
            return None
        if self._choice is not None:
            number, choice = self._choice
            if not choice.done():
                return None
            self._choice = None
            return self._attempt(number, lambda: self._queue_new(number, choice.result()))
        wanting = [
            (progress, trial)
            for progress in progresses(self._workspace, self._store)
            if (trial := progress.next_trial()) is not None
        ]
        if not wanting:
            return None
        progress, trial = min(wanting, key=lambda each: _last_queued(each[0]))
        number = progress.sweep.number
        if trial.setting is None:
            self._choice = number, self._thread.submit(self._sampler.next_point, progress)
            return None
        point, setting = trial.setting.point, trial.setting.number
        return self._attempt(number, lambda: self._queue(progress, setting, trial.repeat, point))

    def close(self) -> None:
        """End the process of the sampler."""
        self._sampler.close()

    def _attempt(self, number: int, act: Callable[[], Round | None]) -> Round | None:
        """Do something for sweep `number`; stop that if it fails again and again, but wait for a disk that is full."""
        try:
            round_ = act()
        except LoratuiError as error:
            print(f"sweep {number}: {error.message}", flush=True)
            self._next_look_at = self._clock() + PAUSE_SECONDS
            failures = self._failures[number] = self._failures.get(number, 0) + 1
            if failures >= MOST_FAILURES and not isinstance(error, StoreError):
                self._stop(number, error.message)
            return None
        self._failures.pop(number, None)
        return round_

    def _queue_new(self, number: int, point: dict[str, str] | None) -> Round | None:
        """Queue a new setting, unless the sweep was stopped, changed or removed while it was chosen."""
        numbered = (each for each in progresses(self._workspace, self._store) if each.sweep.number == number)
        progress = next(numbered, None)
        if progress is None or progress.next_trial() != NextTrial(None):
            return None
        if point is None:
            self._stop(number, "all points of its grid were tried")
            return None
        return self._queue(progress, progress.last_number + 1, 0, point)

    def _queue(self, progress: Progress, setting: int, repeat: int, point: Point) -> Round:
        sweep = progress.sweep
        spec = sweep.space.spec_at(sweep.spec, point)
        if repeat:
            train = msgspec.structs.replace(spec.train, seed=(spec.train.seed + repeat) % 2**32)
            spec = msgspec.structs.replace(spec, train=train)
        trial = Trial(sweep=sweep.number, setting=setting, repeat=repeat, point=dict(point))
        return queue_round(
            self._workspace, self._store, spec,
            name=sweep.name or f"sweep {sweep.number}", note=point_text(point), parent=sweep.parent, trial=trial,
        )  # fmt: skip

    def _stop(self, number: int, message: str) -> None:
        self._failures.pop(number, None)
        self._sweeps.update(number, stopped=time.time(), message=message)


def point_text(point: Point) -> str:
    """Write a point for people: `r 16, learning_rate 3e-4`."""
    return ", ".join(f"{short_name(key)} {text}" for key, text in point.items())


def _last_queued(progress: Progress) -> int:
    """Return the number of the last round of a sweep, so that several take turns."""
    return max((each.number for setting in progress.settings for each in setting.rounds), default=0)

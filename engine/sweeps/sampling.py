"""The point that a sweep tries next: from its grid, or by a sampler of Optuna in a process of its own.

A point depends on the sweep and the rounds so far alone, not on which process asks, so nothing of a sampler is stored.
The process is `engine.training.workers.sampler`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from engine.errors import SpecError
from engine.sweeps.progress import Progress, State
from engine.sweeps.ranges import Range
from engine.sweeps.space import Point, Space
from engine.sweeps.sweep import SamplerName
from engine.system.worker_process import Refusal, WorkerProcess

DRAWS = 20  # at a point that was not tried yet
SEED_STEP = 1_000_003  # between the seeds of the draws of a sweep


class Observation(Struct, frozen=True):
    """A point that was tried: its loss, None if it failed or is not known yet."""

    point: dict[str, str]
    loss: float | None
    state: State


class SampleRequest(Struct, frozen=True):
    """A request for the next point of a space."""

    sampler: SamplerName
    seed: int
    ranges: list[Range]
    observations: list[Observation]


class SampledPoint(Struct, frozen=True, tag="sampled"):
    """The point that the sampler chose."""

    point: dict[str, str]


_answers: msgspec.json.Decoder[SampledPoint | Refusal] = msgspec.json.Decoder(SampledPoint | Refusal)


class Sampler:
    """Chooses points, by a process that is started when one is first needed and stays until `close`."""

    def __init__(self) -> None:
        self._process: WorkerProcess | None = None

    def next_point(self, progress: Progress) -> dict[str, str] | None:
        """Return the next point of a sweep; None if all were tried. This may take seconds.

        Raises:
            LoratuiError: the process cannot be started, ended, or refuses.
        """
        sweep, space = progress.sweep, progress.sweep.space
        tried = {_key(point) for point in progress.points}
        number = progress.last_number + 1
        if sweep.sampler == "grid":
            points = [*space.grid()]
            random.Random(sweep.seed).shuffle(points)
            return next((point for point in points if _key(point) not in tried), None)
        observations = [Observation(each.point, each.loss, each.state) for each in progress.settings]
        for draw in range(DRAWS):
            seed = (sweep.seed + number * SEED_STEP + draw) % 2**32
            point = self._ask(SampleRequest(sweep.sampler, seed, [*space.ranges.values()], observations))
            if _key(point) not in tried:
                return point
        return _untried(space, tried, sweep.seed + number)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ask(self, request: SampleRequest) -> dict[str, str]:
        if self._process is None:
            self._process = WorkerProcess("engine.training.workers.sampler", "the sampler")
        try:
            self._process.send(request)
            answer = self._process.receive(_answers)
        except BaseException:
            self.close()
            raise
        assert isinstance(answer, SampledPoint)
        return answer.point


def _untried(space: Space, tried: Iterable[tuple[tuple[str, str], ...]], seed: int) -> dict[str, str] | None:
    """Return a point that was not tried, None if there is none: the sampler draws the same points again and again."""
    try:
        points = [*space.grid()]
    except SpecError:  # without end, so that what was drawn again is near others anyway
        return None
    rest = [point for point in points if _key(point) not in {*tried}]
    return random.Random(seed).choice(rest) if rest else None


def _key(point: Point) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(point.items()))


def number_of_points(space: Space) -> float:
    """Return how many points a space has, infinity where they cannot be counted."""
    try:
        return sum(1 for _ in space.grid())
    except SpecError:
        return math.inf

"""The noise of a difference between two rounds that comes from the choice of the held-out rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, islice
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.compare.comparability import are_comparable
from engine.files.paths import RunDir, Workspace
from engine.runs.scores import read_scores
from engine.spec.round import Round, Status
from engine.spec.schema import Spec

LAST_ROUNDS = 4


class HeldOutNoise(Struct, frozen=True):
    """The noise of a difference in eval loss that comes from the choice of the held-out rows.

    Attributes:
        rounds: the numbers of the two rounds that were compared row by row.
        rows: the held-out rows that both scored.
        smallest: the least difference, in nats per token, that so many rows show four times out of five.
    """

    rounds: tuple[int, int]
    rows: int
    smallest: float

    def smallest_on(self, rows: int) -> float:
        """Return the least difference, in nats per token, that `rows` would show: it falls with their square root."""
        return self.smallest * math.sqrt(self.rows / rows)

    def rows_for(self, difference: float) -> int:
        """Return how many rows would show a `difference` in nats per token."""
        return math.ceil(self.rows * (self.smallest / difference) ** 2)


def noise_on(spec: Spec, workspace: Workspace, rounds: Sequence[Round]) -> HeldOutNoise | None:
    """Return the noise by the two last finished rounds on the model and the data of `spec`, however many they held out.

    It is None where no two rounds have the scores of their rows, which imported ones have not.
    """
    finished = (round_ for round_ in reversed(rounds) if round_.status is Status.FINISHED)
    alike = islice((round_ for round_ in finished if has_same_rows(round_.spec, spec)), LAST_ROUNDS)
    pairs = ((first, second) for second, first in combinations(alike, 2) if are_comparable(first, second))
    noises = (_noise(_measured(workspace, first), _measured(workspace, second)) for first, second in pairs)
    return next(filter(None, noises), None)


def _measured(workspace: Workspace, round_: Round) -> tuple[int, Path, int]:
    """Return the number of a round, its run directory and the step of its result, 0 where that is not recorded."""
    return round_.number, workspace.run_dir(round_.id).path, round_.result.step or 0


def has_same_rows(first: Spec, second: Spec) -> bool:
    """Return whether two specs mean the same model and rows, however many of them are trained on and held out."""
    if (first.model.path, first.data.path) != (second.model.path, second.data.path):
        return False
    one, other = (
        msgspec.structs.replace(spec.data, eval_fraction=0.1, samples=None, eval_samples=None, drop_copies=False)
        for spec in (first, second)
    )
    return first.model.revision == second.model.revision and one == other


@lru_cache(maxsize=16)
def _noise(first: tuple[int, Path, int], second: tuple[int, Path, int]) -> HeldOutNoise | None:
    from engine.compare.bootstrap import POWER  # numpy, which a plan without such rounds does not need
    from engine.compare.paired_bootstrap import pair

    before, after = (read_scores(RunDir(path), step) for _, path, step in (first, second))
    if before is None or after is None or (paired := pair(before, after)).difference is None:
        return None
    return HeldOutNoise((first[0], second[0]), paired.common, POWER * paired.difference.error)

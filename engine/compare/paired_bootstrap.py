"""Two evaluations held against each other, example by example: the paired bootstrap."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct

from engine.compare.bootstrap import Interval, mean_per_token
from engine.runs.scores import Scores


class PairedScores(Struct, frozen=True):
    """Two evaluations on the examples they have in common.

    Attributes:
        common: how many examples those are.
        only_first, only_second: how many the one has and the other has not.
        difference: second less first, in nats per supervised token; None if too few examples are common, or all their
            differences are the same.
    """

    common: int
    only_first: int
    only_second: int
    difference: Interval | None

    @property
    def verdict(self) -> str:
        """Of the second against the first: `better`, `worse`, `no difference at this size`, or nothing."""
        if self.difference is None:
            return ""
        if self.difference.holds_zero:
            return "no difference at this size"
        return "better" if self.difference.value < 0 else "worse"

    @property
    def examples_to_settle(self) -> int | None:
        """How many held-out examples would tell the two apart four times out of five, if the difference is as it looks.

        None where it is settled, or where nothing differs.
        """
        if self.difference is None or not self.difference.holds_zero:
            return None
        needed = self.difference.examples_to_settle(self.common)
        return math.ceil(needed) if math.isfinite(needed) else None


def pair(first: Scores, second: Scores) -> PairedScores:
    """The paired bootstrap over the examples that both have; one that is there twice is paired twice."""
    pairs = list(_pairs(first, second))
    tokens = [count for count, _, _ in pairs]
    differences = [after - before for _, before, after in pairs]
    common = len(pairs)
    return PairedScores(
        common, len(first.examples) - common, len(second.examples) - common, mean_per_token(differences, tokens)
    )


def _pairs(first: Scores, second: Scores) -> Iterator[tuple[int, float, float]]:
    """(supervised tokens, NLL in the first, NLL in the second) of each example that both scored."""
    waiting: defaultdict[str, list[float | None]] = defaultdict(list)
    for example, nll in zip(reversed(first.examples), reversed(first.nlls), strict=True):
        waiting[example].append(nll)
    for example, tokens, nll in zip(second.examples, second.tokens, second.nlls, strict=True):
        if waiting[example] and (before := waiting[example].pop()) is not None and nll is not None:
            yield tokens, before, nll

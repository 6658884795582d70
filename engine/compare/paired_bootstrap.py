"""The paired bootstrap: two evaluations compared example by example."""

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
        common: number of these examples.
        only_first, only_second: number of examples that only one of the evaluations has.
        difference: second minus first, in nats per supervised token; None if too few examples are common, or all their
            differences are the same.
    """

    common: int
    only_first: int
    only_second: int
    difference: Interval | None

    @property
    def examples_to_settle(self) -> int | None:
        """Number of held-out examples that would find this difference, if it is real, four times out of five.

        None where the difference is found already, or is 0.
        """
        if self.difference is None or not self.difference.holds_zero:
            return None
        needed = self.difference.examples_to_settle(self.common)
        return math.ceil(needed) if math.isfinite(needed) else None


def pair(first: Scores, second: Scores) -> PairedScores:
    """Pair the examples that both have, one that occurs twice twice, and bootstrap over the pairs."""
    pairs = list(_pairs(first, second))
    tokens = [count for count, _, _ in pairs]
    differences = [after - before for _, before, after in pairs]
    common = len(pairs)
    return PairedScores(
        common, len(first.examples) - common, len(second.examples) - common, mean_per_token(differences, tokens)
    )


def _pairs(first: Scores, second: Scores) -> Iterator[tuple[int, float, float]]:
    """Yield (supervised tokens, NLL in the first, NLL in the second) of each example that both scored."""
    waiting: defaultdict[str, list[float | None]] = defaultdict(list)
    for example, nll in zip(reversed(first.examples), reversed(first.nlls), strict=True):
        waiting[example].append(nll)
    for example, tokens, nll in zip(second.examples, second.tokens, second.nlls, strict=True):
        if waiting[example] and (before := waiting[example].pop()) is not None and nll is not None:
            yield tokens, before, nll

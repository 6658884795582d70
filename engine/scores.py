"""What each held-out example scored, kept beside a run, and what it says when two runs are held against each other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from engine.bootstrap import Interval, mean_per_token
from engine.jsonfile import read_plain, write_atomically
from engine.workspace import RunDir

MAX_SCORES_BYTES = 256 * 1024 * 1024


class Scores(Struct, frozen=True):
    """One evaluation, example by example.

    Attributes:
        examples: a hash of each example's tokens and of which of them are supervised: equal for what can be compared,
            whatever file, template or tokenizer it came from.
        tokens: supervised tokens of each.
        nlls: sum of their negative log-likelihood, in nats; None where it was no finite number.
    """

    examples: tuple[str, ...]
    tokens: tuple[int, ...]
    nlls: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if not len(self.examples) == len(self.tokens) == len(self.nlls):
            raise ValueError("its lists differ in length")
        if min(self.tokens, default=1) < 1:
            raise ValueError("an example without a supervised token")


def write_scores(run: RunDir, step: int, scores: Scores) -> None:
    """Keep the scores of the evaluation after `step`; raises OSError if the disk refuses."""
    run.scores.mkdir(exist_ok=True)
    write_atomically(run.scores / f"step-{step}.json", msgspec.json.encode(scores))


def read_scores(run: RunDir, step: int) -> Scores | None:
    """The scores of the evaluation after `step`; None if there are none, or none that hold together."""
    try:
        data = read_plain(run.scores / f"step-{step}.json", max_bytes=MAX_SCORES_BYTES)
        return msgspec.json.decode(data, type=Scores)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


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

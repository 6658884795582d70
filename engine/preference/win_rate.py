"""How often one of two is preferred, how sure that is, and how many judgements more would settle it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping

from msgspec import Struct

from engine.preference.judgement_log import Contestant, Judgement, Judgements, Side

Z, Z_POWER = 1.959964, 0.841621  # quantiles of the normal distribution: of a 95 % interval, and 80 %
HALVINGS = 60


class WinRate(Struct, frozen=True):
    """Judgements of one against another, or against several others."""

    wins: int = 0
    ties: int = 0
    losses: int = 0

    def __add__(self, other: WinRate) -> WinRate:
        return WinRate(self.wins + other.wins, self.ties + other.ties, self.losses + other.losses)

    @property
    def reversed(self) -> WinRate:
        """As the other sees it."""
        return WinRate(self.losses, self.ties, self.wins)

    @property
    def count(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def rate(self) -> float:
        """Share of wins, a tie being half of one; ½ without any judgement."""
        return (self.wins + self.ties / 2) / self.count if self.count else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `rate`.

        It is (1 + Δ) / 2 of the score interval for the difference Δ of two paired proportions (T. Tango, Equivalence
        test and confidence interval for the difference in proportions for the paired-sample design, Statistics in
        Medicine 17, 1998): wins and losses are its discordant pairs, ties the others. Without ties it is Wilson's.
        """
        low, high = (_end(self, towards) for towards in (-1.0, 1.0))
        return (1 + low) / 2, (1 + high) / 2

    @property
    def is_settled(self) -> bool:
        """Whether one is preferred, beyond chance."""
        low, high = self.interval
        return not low <= 0.5 <= high

    @property
    def more_to_settle(self) -> int | None:
        """How many judgements more would tell the two apart four times out of five, if the rate is as it looks.

        None where it is settled, or where they are preferred equally often. (R. J. Connor, Sample size for testing
        differences in proportions for the paired-sample design, Biometrics 43, 1987.)
        """
        if self.is_settled or self.wins == self.losses:
            return None
        difference, decided = (self.wins - self.losses) / self.count, (self.wins + self.losses) / self.count
        errors = Z * math.sqrt(decided) + Z_POWER * math.sqrt(decided - difference**2)
        return max(1, math.ceil((errors / difference) ** 2) - self.count)


def _end(of: WinRate, towards: float) -> float:
    """The end of Tango's interval in the direction of -1 or 1, by bisection: beyond it the score test refuses."""
    if not of.count:
        return towards
    inside, outside = (of.wins - of.losses) / of.count, towards
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if abs(_score(of, middle)) <= Z else (inside, middle)
    return (inside + outside) / 2


def _score(of: WinRate, difference: float) -> float:
    """Tango's statistic for a difference of win and loss probabilities, standard normal if that is the true one."""
    n, wins, losses = of.count, of.wins, of.losses
    a = 2 * n
    b = -wins - losses + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    loss_probability = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # the likeliest with this difference
    variance = n * (2 * loss_probability + difference * (1 - difference))
    distance = wins - losses - n * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


Duels = Mapping[tuple[Contestant, Contestant], WinRate]


def finished(judgements: Judgements) -> Judgements:
    """Without those of two sides that are judged still: how it goes is not to be told by the way."""
    asked = Counter((item.first, item.second) for item in judgements.given)
    whole = tuple(item for item in judgements.given if asked[item.first, item.second] >= item.prompts)
    return Judgements(whole, judgements.unread)


def countable(judgements: Judgements, runs: Container[str]) -> tuple[list[Judgement], int]:
    """What counts, and how many judgements beside that do not.

    Left out are rounds that are none of `runs`, as they were deleted, and answers of a round before the last that were
    judged, which another adapter gave. What was skipped is no judgement.
    """
    asked = [item for item in judgements.given if item.verdict != "skip"]
    last: dict[str, int] = {}
    for side in (side for item in asked for side in (item.first, item.second)):
        last[side.run] = max(side.step, last.get(side.run, 0))

    def counts(side: Side) -> bool:
        return not side.run or (side.run in runs and side.step == last[side.run])

    counted = [item for item in asked if counts(item.first) and counts(item.second)]
    return counted, len(asked) - len(counted)


def duels(given: Iterable[Judgement]) -> Duels:
    """Each two that were judged against each other, with how the first did; what was skipped is left out."""
    counts: dict[tuple[Contestant, Contestant], Counter[str]] = {}
    for item in given:
        if item.verdict != "skip":
            key = (item.first.contestant, item.second.contestant)
            counts.setdefault(key, Counter())[item.verdict] += 1
    return {key: WinRate(count["first"], count["tie"], count["second"]) for key, count in counts.items()}


def totals(fought: Duels) -> dict[Contestant, WinRate]:
    """How each did against all others together."""
    found: dict[Contestant, WinRate] = {}
    for (first, second), rate in fought.items():
        found[first] = found.get(first, WinRate()) + rate
        found[second] = found.get(second, WinRate()) + rate.reversed
    return found


def rate_text(rate: WinRate) -> str:
    """`71 % of 24 (95 %: 52–85 %)`."""
    return f"{100 * rate.rate:.0f} % of {rate.count:,} (95 %: {interval_text(rate)})"


def interval_text(rate: WinRate) -> str:
    """`52–85 %`."""
    low, high = rate.interval
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def preference_words(first: str, second: str, rate: WinRate) -> str:
    """What the judgements of two say, in one sentence; `first` and `second` are what they are called."""
    if not rate.count:
        return f"nothing was judged of {first} and {second}"
    if rate.rate < 0.5:
        first, second, rate = second, first, rate.reversed
    if rate.is_settled:
        return f"{first} is preferred to {second}: {rate_text(rate)}"
    told = f"no difference between {first} and {second} at this size: {first} is preferred in {rate_text(rate)}"
    more = rate.more_to_settle
    if more is None:
        return told
    return f"{told}; about {more:,} more {'judgement' if more == 1 else 'judgements'} would settle it"

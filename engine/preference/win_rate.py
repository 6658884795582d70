"""Win rates: the share of judgements that prefer one of two, its interval, and the judgements needed to settle it."""

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
        """The same judgements from the other's side."""
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
        """True if one is preferred beyond chance."""
        low, high = self.interval
        return not low <= 0.5 <= high

    @property
    def more_to_settle(self) -> int | None:
        """Number of further judgements that would settle this rate, if it is the true one, four times out of five.

        None if it is settled, or if they are preferred equally often. (R. J. Connor, Sample size for testing
        differences in proportions for the paired-sample design, Biometrics 43, 1987.)
        """
        if self.is_settled or self.wins == self.losses:
            return None
        difference, decided = (self.wins - self.losses) / self.count, (self.wins + self.losses) / self.count
        errors = Z * math.sqrt(decided) + Z_POWER * math.sqrt(decided - difference**2)
        return max(1, math.ceil((errors / difference) ** 2) - self.count)


def _end(rate: WinRate, towards: float) -> float:
    """Find the end of Tango's interval towards -1 or 1, by bisection: beyond it the score test rejects."""
    if not rate.count:
        return towards
    inside, outside = (rate.wins - rate.losses) / rate.count, towards
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if abs(_score(rate, middle)) <= Z else (inside, middle)
    return (inside + outside) / 2


def _score(rate: WinRate, difference: float) -> float:
    """Compute Tango's statistic for a difference of win and loss probabilities; standard normal if that is true."""
    n, wins, losses = rate.count, rate.wins, rate.losses
    a = 2 * n
    b = -wins - losses + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    loss_probability = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # the likeliest with this difference
    variance = n * (2 * loss_probability + difference * (1 - difference))
    distance = wins - losses - n * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


Duels = Mapping[tuple[Contestant, Contestant], WinRate]


def finished(judgements: Judgements) -> Judgements:
    """Leave out the sides whose prompts are not all judged yet: a judge must not see a result before the end."""
    judged = Counter((judgement.first, judgement.second) for judgement in judgements.valid)
    whole = tuple(
        judgement for judgement in judgements.valid if judged[judgement.first, judgement.second] >= judgement.prompts
    )
    return Judgements(whole, judgements.unread)


def countable(judgements: Judgements, runs: Container[str]) -> tuple[list[Judgement], int]:
    """Return the judgements that count, and the number of those that do not.

    Judgements do not count if a round of theirs was deleted, so that it is not in `runs`, or if a later adapter of the
    round was judged too. Skipped prompts are in neither.
    """
    judged = [judgement for judgement in judgements.valid if judgement.verdict != "skip"]
    last: dict[str, int] = {}
    for side in (side for judgement in judged for side in (judgement.first, judgement.second)):
        last[side.run] = max(side.step, last.get(side.run, 0))

    def counts(side: Side) -> bool:
        return not side.run or (side.run in runs and side.step == last[side.run])

    counted = [judgement for judgement in judged if counts(judgement.first) and counts(judgement.second)]
    return counted, len(judged) - len(counted)


def duels(judgements: Iterable[Judgement]) -> Duels:
    """Return each two that were judged against each other with the win rate of the first; skipped prompts are out."""
    counts: dict[tuple[Contestant, Contestant], Counter[str]] = {}
    for judgement in judgements:
        if judgement.verdict != "skip":
            key = (judgement.first.contestant, judgement.second.contestant)
            counts.setdefault(key, Counter())[judgement.verdict] += 1
    return {key: WinRate(count["first"], count["tie"], count["second"]) for key, count in counts.items()}


def totals(all_duels: Duels) -> dict[Contestant, WinRate]:
    """Return the win rate of each contestant against all others together."""
    total_by_contestant: dict[Contestant, WinRate] = {}
    for (first, second), rate in all_duels.items():
        total_by_contestant[first] = total_by_contestant.get(first, WinRate()) + rate
        total_by_contestant[second] = total_by_contestant.get(second, WinRate()) + rate.reversed
    return total_by_contestant


def rate_text(rate: WinRate) -> str:
    """`71 % of 24 (95 %: 52–85 %)`."""
    return f"{100 * rate.rate:.0f} % of {rate.count:,} (95 %: {interval_text(rate)})"


def interval_text(rate: WinRate) -> str:
    """`52–85 %`."""
    low, high = rate.interval
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def preference_words(first: str, second: str, rate: WinRate) -> str:
    """Say in one sentence which of two is preferred; `first` and `second` are their names."""
    if not rate.count:
        return f"nothing was judged of {first} and {second}"
    if rate.rate < 0.5:
        first, second, rate = second, first, rate.reversed
    if rate.is_settled:
        return f"{first} is preferred to {second}: {rate_text(rate)}"
    sentence = f"no difference between {first} and {second} at this size: {first} is preferred in {rate_text(rate)}"
    more = rate.more_to_settle
    if more is None:
        return sentence
    return f"{sentence}; about {more:,} more {'judgement' if more == 1 else 'judgements'} would settle it"

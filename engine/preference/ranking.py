"""Rounds in the order in which people prefer their answers: a Bradley-Terry model over all judgements.

The chance that i is preferred to j is worth_i / (worth_i + worth_j) (R. A. Bradley and M. E. Terry, Rank analysis of
incomplete block designs, Biometrika 39, 1952); a tie is half a win for both, which makes the intervals a little wider
than necessary. As a prior each has one tie with a phantom of worth 1 (G. Phelan and J. T. Whelan, Hierarchical Bayesian
Bradley-Terry for applications in Major League Baseball, 2017): so one who never lost has a finite worth too, and two
who were never judged against each other, even through others, can be ordered, if by the prior alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from engine.preference.judgement_log import Contestant, Judgements
from engine.preference.win_rate import Duels, WinRate, Z, countable, duels, preference_words, totals
from engine.spec.round import Round

STEPS, HALVINGS = 100, 50
CLOSE = 1e-10
WORTH_EXPLAINED = "twice the worth of another means preferred to it in two of three judgements; 1 is the average."
Values = NDArray[np.float64]


class Place(Struct, frozen=True, kw_only=True):
    """The place of one contestant in the ranking.

    Attributes:
        round: None for a base model.
        called: its name in a sentence.
        rate: against all others together.
        worth: by the model; the geometric mean of all is 1.
        low, high: the ends of the 95 % interval of `worth`.
    """

    contestant: Contestant
    round: Round | None
    called: str
    rate: WinRate
    worth: float
    low: float
    high: float

    @property
    def fields(self) -> dict[str, object]:
        """The fields of the JSON output; `round` is its number, null for a base model."""
        return {
            "round": self.round.number if self.round is not None else None,
            "name": self.round.name if self.round is not None else "",
            "model": self.round.spec.model.path if self.round is not None else self.contestant.model,
            "judgements": self.rate.count,
            "wins": self.rate.wins,
            "ties": self.rate.ties,
            "losses": self.rate.losses,
            "win_rate": self.rate.rate,
            "win_rate_interval": self.rate.interval,
            "worth": self.worth,
            "worth_interval": (self.low, self.high),
        }


class Ranking(Struct, frozen=True):
    """The ranking of all contestants.

    Attributes:
        places: the best first.
        duels: for each two, the better placed first.
        groups: number of groups whose members were judged against each other, directly or through others; with more
            than 1 there is not one order.
        left_out: number of judgements of deleted rounds, or of answers of an earlier adapter of a round.
    """

    places: tuple[Place, ...] = ()
    duels: tuple[tuple[Place, Place, WinRate], ...] = ()
    groups: int = 0
    left_out: int = 0

    @property
    def sentences(self) -> list[str]:
        """A sentence on each two that were judged against each other."""
        return [preference_words(first.called, second.called, rate) for first, second, rate in self.duels]


def worth_text(worth: float) -> str:
    """`0.045`, `1.83`, `36`."""
    return f"{worth:,.0f}" if worth >= 10 else f"{worth:.2f}" if worth >= 0.1 else f"{worth:.2g}"


def rank(judgements: Judgements, rounds: Sequence[Round]) -> Ranking:
    """Rank all contestants; skipped prompts do not count."""
    rounds_by_id = {round_.id: round_ for round_ in rounds}
    counted, left_out = countable(judgements, rounds_by_id)
    all_duels = duels(counted)
    places = sorted(_places(all_duels, rounds_by_id), key=lambda place: -place.worth)
    return Ranking(tuple(places), _between(places, all_duels), _groups(all_duels), left_out)


def _places(all_duels: Duels, rounds_by_id: Mapping[str, Round]) -> Iterator[Place]:
    rates, worths = totals(all_duels), bradley_terry(all_duels)
    bases = sum(one.run is None for one in worths)
    for one, (worth, low, high) in worths.items():
        round_ = rounds_by_id.get(one.run or "")
        base = "the base model" if bases == 1 else f"the base model {one.model}"
        called = f"round {round_.number}" if round_ is not None else base
        yield Place(
            contestant=one, round=round_, called=called, rate=rates[one], worth=worth, low=low, high=high
        )  # fmt: skip


def _between(places: Sequence[Place], all_duels: Duels) -> tuple[tuple[Place, Place, WinRate], ...]:
    """Return each two that were judged against each other, in the order of their places, with their win rate."""
    pairs = []
    for better, worse in itertools.combinations(places, 2):
        if (rate := all_duels.get((better.contestant, worse.contestant))) is not None:
            pairs.append((better, worse, rate))
        elif (rate := all_duels.get((worse.contestant, better.contestant))) is not None:
            pairs.append((better, worse, rate.reversed))
    return tuple(pairs)


def _groups(all_duels: Duels) -> int:
    """Count the connected parts of the graph of duels."""
    leader: dict[Contestant, Contestant] = {}

    def find(one: Contestant) -> Contestant:
        while leader.setdefault(one, one) != one:
            one = leader[one]
        return one

    for first, second in all_duels:
        leader[find(first)] = find(second)
    return sum(find(one) == one for one in list(leader))


def bradley_terry(all_duels: Duels) -> dict[Contestant, tuple[float, float, float]]:
    """Compute the worth of each and the ends of its 95 % interval, from the observed Fisher information.

    The posterior has one maximum, as the prior joins all of them (D. R. Hunter, MM algorithms for generalized
    Bradley-Terry models, Annals of Statistics 32, 2004), which Newton's method finds in the logarithms of the worths.
    """
    everyone = sorted({one for pair in all_duels for one in pair}, key=str)
    if not everyone:
        return {}
    index = {one: place for place, one in enumerate(everyone)}
    wins = np.zeros((len(everyone), len(everyone)))
    for (first, second), rate in all_duels.items():
        wins[index[first], index[second]] += rate.wins + rate.ties / 2
        wins[index[second], index[first]] += rate.losses + rate.ties / 2
    logs = _most_likely(wins)
    _, _, information = _posterior(logs, wins)
    centred = np.eye(len(logs)) - 1 / len(logs)
    errors = np.sqrt(np.diag(centred @ np.linalg.inv(information) @ centred))
    logs = logs - logs.mean()
    values = np.exp(np.stack([logs, logs - Z * errors, logs + Z * errors], axis=1))
    return dict(zip(everyone, map(tuple, values.tolist()), strict=True))


def _most_likely(wins: Values) -> Values:
    """Find the logarithms of the worths with the highest posterior, from wins [of the row, against the column]."""
    logs = np.zeros(len(wins))
    for _ in range(STEPS):
        value, gradient, information = _posterior(logs, wins)
        step = np.linalg.solve(information, gradient)
        for _ in range(HALVINGS):
            if _posterior(logs + step, wins)[0] >= value:
                break
            step /= 2
        logs = logs + step
        if np.abs(step).max() < CLOSE:
            break
    return logs


def _posterior(logs: Values, wins: Values) -> tuple[float, Values, Values]:
    """Return the log posterior without its constant, its gradient, and the negative of its second derivatives."""
    ahead = logs[:, None] - logs[None, :]
    chance, chance_of_phantom = 1 / (1 + np.exp(-ahead)), 1 / (1 + np.exp(-logs))
    judged = wins + wins.T
    value = float((wins * -np.logaddexp(0, -ahead)).sum() - (np.logaddexp(0, logs) - logs / 2).sum())
    gradient = (wins - judged * chance).sum(axis=1) + 0.5 - chance_of_phantom
    weights = judged * chance * (1 - chance)
    own = weights.sum(axis=1) + chance_of_phantom * (1 - chance_of_phantom)
    return value, gradient, np.diag(own) - weights

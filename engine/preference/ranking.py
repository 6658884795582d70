"""Rounds in the order in which people prefer their answers: a Bradley-Terry model over all judgements.

The chance that i is preferred to j is worth_i / (worth_i + worth_j) (R. A. Bradley and M. E. Terry, Rank analysis of
incomplete block designs, Biometrika 39, 1952); a tie is half a win for both, which makes the intervals a little wider
than need be. As a prior each has one tie with a phantom of worth 1 (G. Phelan and J. T. Whelan, Hierarchical Bayesian
Bradley-Terry for applications in Major League Baseball, 2017): so also one who never lost has a finite worth, and those
who were never judged against each other, even through others, a place beside each other, if by the prior alone.
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
WORTH_EXPLAINED = "one of twice the worth is preferred in two of three judgements; 1 is the average."
Values = NDArray[np.float64]


class Place(Struct, frozen=True, kw_only=True):
    """Where one stands.

    Attributes:
        round: None for a base model.
        called: what it is called in a sentence.
        rate: against all others together.
        worth: by the model, the geometric mean of all being 1, and the ends of its 95 % interval.
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
        """As JSON for others to read; `round` is its number, null for a base model."""
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
    """All that were judged.

    Attributes:
        places: the best first.
        duels: of each two, the better placed first.
        groups: how many there are of those judged against each other, if through others; more than 1 is not one order.
        left_out: judgements of rounds that are gone, or of answers before the last that were judged of a round.
    """

    places: tuple[Place, ...] = ()
    duels: tuple[tuple[Place, Place, WinRate], ...] = ()
    groups: int = 0
    left_out: int = 0

    @property
    def sentences(self) -> list[str]:
        """What is to be said of each two."""
        return [preference_words(first.called, second.called, rate) for first, second, rate in self.duels]


def worth_text(worth: float) -> str:
    """`0.045`, `1.83`, `36`."""
    return f"{worth:,.0f}" if worth >= 10 else f"{worth:.2f}" if worth >= 0.1 else f"{worth:.2g}"


def rank(judgements: Judgements, rounds: Sequence[Round]) -> Ranking:
    """The order of all that were judged; what was skipped counts for nothing."""
    known = {item.id: item for item in rounds}
    counted, left_out = countable(judgements, known)
    fought = duels(counted)
    places = sorted(_places(fought, known), key=lambda place: -place.worth)
    return Ranking(tuple(places), _between(places, fought), _groups(fought), left_out)


def _places(fought: Duels, known: Mapping[str, Round]) -> Iterator[Place]:
    rates, worths = totals(fought), bradley_terry(fought)
    bases = sum(one.run is None for one in worths)
    for one, (worth, low, high) in worths.items():
        round_ = known.get(one.run or "")
        base = "the base model" if bases == 1 else f"the base model {one.model}"
        called = f"round {round_.number}" if round_ is not None else base
        yield Place(
            contestant=one, round=round_, called=called, rate=rates[one], worth=worth, low=low, high=high
        )  # fmt: skip


def _between(places: Sequence[Place], fought: Duels) -> tuple[tuple[Place, Place, WinRate], ...]:
    """How each two that were judged against each other did, by their places."""
    found = []
    for better, worse in itertools.combinations(places, 2):
        if (rate := fought.get((better.contestant, worse.contestant))) is not None:
            found.append((better, worse, rate))
        elif (rate := fought.get((worse.contestant, better.contestant))) is not None:
            found.append((better, worse, rate.reversed))
    return tuple(found)


def _groups(fought: Duels) -> int:
    """How many parts the graph of the duels falls into."""
    leader: dict[Contestant, Contestant] = {}

    def find(one: Contestant) -> Contestant:
        while leader.setdefault(one, one) != one:
            one = leader[one]
        return one

    for first, second in fought:
        leader[find(first)] = find(second)
    return sum(find(one) == one for one in list(leader))


def bradley_terry(fought: Duels) -> dict[Contestant, tuple[float, float, float]]:
    """The worth of each and the ends of its 95 % interval, from the observed Fisher information.

    The posterior has one maximum, as the prior joins all of them (D. R. Hunter, MM algorithms for generalized
    Bradley-Terry models, Annals of Statistics 32, 2004), which Newton's method finds in the logarithms of the worths.
    """
    everyone = sorted({one for pair in fought for one in pair}, key=str)
    if not everyone:
        return {}
    index = {one: place for place, one in enumerate(everyone)}
    wins = np.zeros((len(everyone), len(everyone)))
    for (first, second), rate in fought.items():
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
    """The logarithms of the worths with the highest posterior, given wins [of the row, against the column]."""
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
    """Log posterior but for a constant, its gradient, and the negative of its second derivatives."""
    ahead = logs[:, None] - logs[None, :]
    chance, chance_of_phantom = 1 / (1 + np.exp(-ahead)), 1 / (1 + np.exp(-logs))
    judged = wins + wins.T
    value = float((wins * -np.logaddexp(0, -ahead)).sum() - (np.logaddexp(0, logs) - logs / 2).sum())
    gradient = (wins - judged * chance).sum(axis=1) + 0.5 - chance_of_phantom
    weights = judged * chance * (1 - chance)
    own = weights.sum(axis=1) + chance_of_phantom * (1 - chance_of_phantom)
    return value, gradient, np.diag(own) - weights

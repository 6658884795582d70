"""The Bradley-Terry model: against arithmetic, its own likelihood, and worths that are known."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping

import pytest

from engine.preference.judgement_log import Contestant, Judgement, Judgements, Side
from engine.preference.ranking import bradley_terry, rank
from engine.preference.win_rate import Duels, WinRate
from engine.spec.round import Round
from tests.support.judged import BASE, FIRST, SECOND, preferred
from tests.support.rounds import make_round

A, B, C, D = (Contestant(name, "") for name in "abcd")


def test_two_are_as_their_wins_say_with_the_prior() -> None:
    """By symmetry the logarithms are +x and -x: 30 wins of 40 and a tie with worth 1 give 30.5 - 40 p(2x) = p(x)."""
    worths = bradley_terry({(A, B): WinRate(30, 0, 10)})
    x = math.log(worths[A][0])
    assert worths[B][0] == pytest.approx(1 / worths[A][0])

    def p(log: float) -> float:
        return 1 / (1 + math.exp(-log))

    assert 30.5 - 40 * p(2 * x) - p(x) == pytest.approx(0, abs=1e-8)
    assert p(2 * x) == pytest.approx(0.75, abs=0.01)


def log_posterior(fought: Duels, logs: Mapping[Contestant, float]) -> float:
    log_likelihood = 0.0
    for (first, second), rate in fought.items():
        ahead = logs[first] - logs[second]
        log_likelihood -= (rate.wins + rate.ties / 2) * math.log1p(math.exp(-ahead))
        log_likelihood -= (rate.losses + rate.ties / 2) * math.log1p(math.exp(ahead))
    return log_likelihood - sum(math.log1p(math.exp(log)) - log / 2 for log in logs.values())


FOUGHT: Duels = {
    (A, B): WinRate(7, 3, 2), (B, C): WinRate(5, 0, 6), (A, C): WinRate(9, 1, 4), (C, D): WinRate(12, 0, 0),
}  # fmt: skip


def test_found_worths_are_the_likeliest_and_their_intervals_the_curvature() -> None:
    """Numerical differences of the posterior as it is written down, around what is found."""
    worths = bradley_terry(FOUGHT)
    assert math.prod(worth for worth, _, _ in worths.values()) == pytest.approx(1)
    centred = {one: math.log(worth) for one, (worth, _, _) in worths.items()}
    shift = max(((-2 + step / 1000) for step in range(4001)), key=lambda by: _moved(centred, by, FOUGHT))
    logs = {one: log + shift for one, log in centred.items()}
    for one in worths:
        up, down = ({**logs, one: logs[one] + by} for by in (1e-4, -1e-4))
        assert log_posterior(FOUGHT, up) - log_posterior(FOUGHT, down) == pytest.approx(0, abs=1e-6)
    for one, (worth, low, high) in worths.items():
        assert low < worth < high
        assert math.log(high / worth) == pytest.approx(math.log(worth / low)), one


def _moved(logs: Mapping[Contestant, float], by: float, fought: Duels) -> float:
    return log_posterior(fought, {one: log + by for one, log in logs.items()})


def test_one_who_never_lost_has_a_finite_worth_and_a_wide_interval() -> None:
    worths = bradley_terry({(A, B): WinRate(8, 0, 0)})
    worth, low, high = worths[A]
    assert 1 < worth < 20 and low < worth < high < 1000


def simulate(truth: Mapping[Contestant, float], each: int, chance: random.Random) -> Duels:
    fought = {}
    for first, second in itertools.combinations(truth, 2):
        p = truth[first] / (truth[first] + truth[second])
        wins = sum(chance.random() < p for _ in range(each))
        fought[first, second] = WinRate(wins, 0, each - wins)
    return fought


TRUTH = {A: 2.0, B: 1.25, C: 0.8, D: 0.5}  # whose geometric mean is 1


def test_known_worths_are_found_again() -> None:
    worths = bradley_terry(simulate(TRUTH, 20_000, random.Random(1)))
    for one, worth in TRUTH.items():
        assert worths[one][0] == pytest.approx(worth, rel=0.03)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    chance, held, times = random.Random(2), 0, 250
    for _ in range(times):
        worths = bradley_terry(simulate(TRUTH, 20, chance))
        held += sum(worths[one][1] <= worth <= worths[one][2] for one, worth in TRUTH.items())
    assert 0.93 < held / (4 * times) < 0.98


def test_large_graphs_that_hang_together_by_a_thread_are_solved() -> None:
    chain = [Contestant(str(number), "") for number in range(40)]
    worths = bradley_terry({(first, second): WinRate(99, 0, 1) for first, second in itertools.pairwise(chain)})
    ranking = [worths[one][0] for one in chain]
    assert ranking == sorted(ranking, reverse=True)
    assert all(math.isfinite(end) for ends in worths.values() for end in ends)


def rounds_of(*numbers: int) -> list[Round]:
    return [make_round(number) for number in numbers]


def judgements(*listed: Judgement) -> Judgements:
    return Judgements(listed)


def test_rounds_and_their_base_are_put_in_order() -> None:
    ranking = rank(
        judgements(
            *(preferred(str(place), "second") for place in range(6)),
            *(preferred(str(place), "second", sides=(BASE, FIRST)) for place in range(6)),
            preferred("skipped", "skip"),
        ),
        rounds_of(1, 2, 3),
    )
    assert [place.called for place in ranking.places] == ["round 2", "round 1", "the base model"]
    assert [place.rate for place in ranking.places] == [WinRate(6, 0, 0), WinRate(6, 0, 6), WinRate(0, 0, 6)]
    assert (ranking.groups, ranking.left_out) == (1, 0)
    assert ranking.sentences == [
        "round 2 is preferred to round 1: 100 % of 6 (95 %: 61–100 %)",
        "round 1 is preferred to the base model: 100 % of 6 (95 %: 61–100 %)",
    ]
    assert ranking.places[2].fields["round"] is None and ranking.places[2].fields["model"] == "some/model"
    assert ranking.places[0].fields["win_rate"] == 1.0


def test_rounds_that_are_gone_and_earlier_answers_are_left_out() -> None:
    later = Side("some/model", "0001-00c0ffee", 20)
    listed = judgements(preferred("a", "first"), preferred("b", "first", sides=(later, SECOND)))
    ranking = rank(listed, rounds_of(1, 2))
    assert (ranking.left_out, [place.rate.count for place in ranking.places]) == (1, [1, 1])
    gone = rank(listed, rounds_of(1))
    assert (gone.left_out, gone.places, gone.groups) == (2, (), 0)
    assert rank(judgements(), rounds_of(1)).sentences == []


def test_groups_that_never_met_are_counted() -> None:
    others = Side("some/model", "0003-00c0ffee", 10), Side("some/model", "0004-00c0ffee", 10)
    ranking = rank(judgements(preferred("a", "first"), preferred("a", "first", sides=others)), rounds_of(1, 2, 3, 4))
    assert (ranking.groups, len(ranking.places)) == (2, 4)


def test_base_models_are_told_apart() -> None:
    other = Side("other/model")
    ranking = rank(
        judgements(preferred("a", "first", sides=(BASE, FIRST)), preferred("a", "first", sides=(other, SECOND))),
        rounds_of(1, 2),
    )
    assert {place.called for place in ranking.places} == {
        "round 1", "round 2", "the base model some/model", "the base model other/model",
    }  # fmt: skip

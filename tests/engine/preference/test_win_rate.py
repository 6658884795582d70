"""Win rates with ties: the interval against a search over the likelihood itself, Wilson's formula, and simulation."""

from __future__ import annotations

import math
import random

import pytest

from engine.preference.judgement_log import Judgements
from engine.preference.win_rate import WinRate, Z, duels, finished, preference_words, rate_text, totals
from tests.support.judged import BASE, FIRST, SECOND, preferred


def wilson(wins: int, n: int) -> tuple[float, float]:
    """E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927."""
    p, z2 = wins / n, Z * Z
    middle, reach = p + z2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return (middle - reach) / (1 + z2 / n), (middle + reach) / (1 + z2 / n)


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (0, 3), (5, 5), (17, 7), (24, 0), (300, 211)])
def test_interval_without_ties_is_wilsons(wins: int, losses: int) -> None:
    rate = WinRate(wins, 0, losses)
    assert rate.interval == pytest.approx(wilson(wins, wins + losses), abs=1e-9)


def log_likelihood(rate: WinRate, win: float, loss: float) -> float:
    counted = ((rate.wins, win), (rate.losses, loss), (rate.ties, 1 - win - loss))
    return sum(count * math.log(max(chance, 1e-300)) for count, chance in counted if count)


def score(rate: WinRate, difference: float) -> float:
    """The standardised distance from `difference`, its variance at the likeliest chances found by golden section."""
    low, high = max(0.0, -difference), (1 - difference) / 2
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(200):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if log_likelihood(rate, left + difference, left) < log_likelihood(rate, right + difference, right):
            low = left
        else:
            high = right
    win, loss = low + difference, low
    variance = (win + loss - difference**2) / rate.count
    return ((rate.wins - rate.losses) / rate.count - difference) / math.sqrt(variance)


@pytest.mark.parametrize("counts", [(12, 8, 4), (1, 9, 0), (3, 1, 7), (40, 60, 20), (0, 5, 2)])
def test_ends_of_the_interval_are_where_the_score_test_begins_to_refuse(counts: tuple[int, int, int]) -> None:
    rate = WinRate(*counts)
    low, high = rate.interval
    assert score(rate, 2 * low - 1) == pytest.approx(Z, abs=1e-4)
    assert score(rate, 2 * high - 1) == pytest.approx(-Z, abs=1e-4)
    assert 0 <= low < rate.rate < high <= 1


def test_nothing_but_ties_says_how_near_the_two_are() -> None:
    """The score test refuses d where n d > z sqrt(n d (1 - d)), as no loss is likely: d = z^2 / (n + z^2)."""
    low, high = WinRate(0, 20, 0).interval
    distance = Z * Z / (20 + Z * Z)
    assert (low, high) == pytest.approx(((1 - distance) / 2, (1 + distance) / 2), abs=1e-9)


@pytest.mark.parametrize("counts", [(5, 3, 1), (0, 2, 9), (7, 0, 7)])
def test_other_side_sees_the_same_from_the_other_side(counts: tuple[int, int, int]) -> None:
    rate, other = WinRate(*counts), WinRate(*counts).reversed
    assert other.rate == pytest.approx(1 - rate.rate)
    assert other.interval == pytest.approx((1 - rate.interval[1], 1 - rate.interval[0]), abs=1e-9)


@pytest.mark.parametrize(("win", "loss", "n"), [(0.4, 0.3, 24), (0.6, 0.4, 30), (0.15, 0.05, 40), (0.9, 0.1, 12)])
def test_interval_holds_the_truth_as_often_as_it_says(win: float, loss: float, n: int) -> None:
    chance, truth, held, times = random.Random(3), (1 + win - loss) / 2, 0, 1500
    for _ in range(times):
        drawn = chance.choices(("win", "loss", "tie"), (win, loss, 1 - win - loss), k=n)
        low, high = WinRate(drawn.count("win"), drawn.count("tie"), drawn.count("loss")).interval
        held += low <= truth <= high
    assert 0.93 < held / times < 0.985


def test_as_many_more_as_are_told_settle_it_four_times_out_of_five() -> None:
    rate = WinRate(14, 2, 8)
    assert not rate.is_settled
    more = rate.more_to_settle
    assert more is not None
    n, chance, settled, times = rate.count + more, random.Random(4), 0, 1500
    for _ in range(times):
        drawn = chance.choices(("win", "tie", "loss"), (14, 2, 8), k=n)
        settled += WinRate(drawn.count("win"), drawn.count("tie"), drawn.count("loss")).is_settled
    assert 0.77 < settled / times < 0.84
    assert WinRate(3, 0, 0).more_to_settle == 1
    assert WinRate(4, 0, 0).is_settled and WinRate(4, 0, 0).more_to_settle is None
    assert WinRate(4, 3, 4).more_to_settle is None


def test_preference_is_told_in_words() -> None:
    assert rate_text(WinRate(17, 0, 7)) == "71 % of 24 (95 %: 51–85 %)"
    assert preference_words("round 3", "round 2", WinRate(17, 0, 7)) == (
        "round 3 is preferred to round 2: 71 % of 24 (95 %: 51–85 %)"
    )
    assert preference_words("round 3", "round 2", WinRate(7, 0, 17)) == (
        "round 2 is preferred to round 3: 71 % of 24 (95 %: 51–85 %)"
    )
    assert preference_words("round 3", "the base model", WinRate(14, 2, 8)).startswith(
        "no difference between round 3 and the base model at this size: round 3 is preferred in 62 % of 24 (95 %: "
    )
    assert preference_words("round 3", "round 2", WinRate(3, 0, 0)).endswith("about 1 more judgement would settle it")
    assert preference_words("round 3", "round 2", WinRate(3, 1, 3)).endswith("50 % of 7 (95 %: 22–78 %)")
    assert preference_words("round 3", "round 2", WinRate()) == "nothing was judged of round 3 and round 2"


def test_judgements_are_counted_by_who_met_whom() -> None:
    fought = duels([
        preferred("a", "first"), preferred("b", "tie"), preferred("c", "skip"), preferred("d", "second"),
        preferred("a", "first", sides=(BASE, FIRST)),
    ])  # fmt: skip
    first, second, base = FIRST.contestant, SECOND.contestant, BASE.contestant
    assert fought == {(first, second): WinRate(1, 1, 1), (base, first): WinRate(1, 0, 0)}
    assert totals(fought) == {first: WinRate(1, 1, 2), second: WinRate(1, 1, 1), base: WinRate(1, 0, 0)}


def test_contest_that_goes_on_is_told_apart_from_one_that_is_finished() -> None:
    """Each has four prompts; what was skipped was asked."""
    listed = [preferred(prompt, "skip" if prompt == "d" else "first") for prompt in "abcd"]
    going_on = [preferred(prompt, "first", sides=(BASE, FIRST)) for prompt in "abc"]
    assert finished(Judgements((*listed, *going_on), 2)) == Judgements(tuple(listed), 2)

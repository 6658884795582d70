"""The sentences of a comparison."""

from __future__ import annotations

import pytest

from engine.compare.bootstrap import Interval
from engine.compare.paired_bootstrap import PairedScores
from engine.compare.verdict import movement, verdict_on
from engine.spec.round import Result, Status
from tests.support.rounds import make_round


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (4.79, 3.16, "perplexity fell: 4.79 -> 3.16 (-34.0 %)"),
        (2.0, 3.0, "perplexity rose: 2.00 -> 3.00 (+50.0 %)"),
        (2.0, 2.0, "perplexity stayed: 2.00 -> 2.00 (+0.0 %)"),
        (None, 2.0, "round 1 has no perplexity to compare"),
        (2.0, None, "round 2 has no perplexity to compare"),
        (None, None, "round 1 has no perplexity to compare"),
    ],
)
def test_movement_is_one_sentence(before: float | None, after: float | None, sentence: str) -> None:
    first, second = (make_round(n, result=Result(perplexity=value)) for n, value in [(1, before), (2, after)])
    assert movement(first, second) == sentence


def test_perplexity_that_is_no_number_is_said_to_be_so() -> None:
    lost = make_round(2, Status.FAILED, result=Result(nonfinite={"perplexity": "inf"}))
    assert movement(make_round(1), lost) == "the perplexity of round 2 is infinite"


def paired(value: float, low: float, high: float, common: int = 100, only: tuple[int, int] = (0, 0)) -> PairedScores:
    return PairedScores(common, *only, Interval(value, (high - low) / 3.92, low, high))


def test_real_difference_is_given_with_its_interval() -> None:
    """exp(-0.05) is 0.951, exp(-0.1) 0.905, exp(-0.01) 0.990."""
    assert verdict_on(4, 5, paired(-0.05, -0.1, -0.01)).sentence == (
        "round 5 is better than round 4: perplexity -4.9 % (95 %: -9.5 % to -1.0 %) over the same 100 held-out rows"
    )
    assert verdict_on(4, 5, paired(0.05, 0.01, 0.1)).sentence.startswith(
        "round 5 is worse than round 4: perplexity +5.1 %"
    )


def test_difference_that_may_be_chance_says_how_many_rows_would_settle_it() -> None:
    """The error is 0.02; (2.8 x 0.02 / 0.01)^2 = 31.36 times the rows."""
    sentence = verdict_on(2, 3, paired(0.01, 0.01 - 0.0392, 0.01 + 0.0392)).sentence
    assert sentence == (
        "no difference between rounds 2 and 3 at this size: perplexity +1.0 % (95 %: -2.9 % to +5.0 %) over the same "
        "100 held-out rows; about 3,136 rows would settle it"
    )


def test_rows_that_only_one_has_are_counted() -> None:
    sentence = verdict_on(1, 2, paired(-0.05, -0.1, -0.01, 60, (40, 0))).sentence
    assert sentence.endswith("over the 60 held-out rows that both have, of 100 and 60")


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (
            PairedScores(0, 10, 10, None),
            "share no held-out row with the same supervised tokens: they cannot be compared",
        ),
        (PairedScores(1, 0, 0, None), "rounds 1 and 2 cannot be distinguished over the same 1 held-out row"),
        (paired(800.0, 700.0, 900.0), "beyond measure"),
    ],
)
def test_missing_or_extreme_difference_is_worded(scores: PairedScores, words: str) -> None:
    assert words in verdict_on(1, 2, scores).sentence

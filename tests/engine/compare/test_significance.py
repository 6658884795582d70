from __future__ import annotations

import msgspec
import pytest

from engine.api import Cockpit
from engine.compare.bootstrap import Interval
from engine.compare.paired_bootstrap import PairedScores
from engine.compare.significance import verdict
from engine.compare.verdict import verdict_on
from engine.spec.round import Result, Status
from tests.support.recorded_runs import trained
from tests.support.rounds import make_round


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


IMPORTED = Result(eval_loss=1.1, perplexity=3.0)


def test_rounds_are_held_against_each_other_by_the_adapter_that_was_kept(idle_cockpit: Cockpit) -> None:
    """The first kept its best, and not its last, evaluation; by the last the second would be the better."""
    first, second = trained(idle_cockpit, [1.0, 2.0], best=1), trained(idle_cockpit, [1.5], best=1)
    assert verdict(idle_cockpit.workspace, first, second).sentence.startswith(
        "round 2 is worse than round 1: perplexity +64."
    )


def test_rounds_of_version_0_1_0_are_compared_by_the_step_with_the_results_loss(idle_cockpit: Cockpit) -> None:
    rounds = [trained(idle_cockpit, [1.0, 2.0], best=1), trained(idle_cockpit, [1.5], best=1)]
    old = [msgspec.structs.replace(item, result=msgspec.structs.replace(item.result, step=None)) for item in rounds]
    assert verdict(idle_cockpit.workspace, *old) == verdict(idle_cockpit.workspace, *rounds)


def test_step_of_the_result_decides_though_another_evaluation_has_its_loss(idle_cockpit: Cockpit) -> None:
    first, second = trained(idle_cockpit, [1.0, 2.0], best=1), trained(idle_cockpit, [1.5], best=1)
    later = msgspec.structs.replace(first, result=msgspec.structs.replace(first.result, step=20))
    assert verdict(idle_cockpit.workspace, later, second).sentence.startswith("round 2 is better than round 1")


def test_round_without_scores_is_named(idle_cockpit: Cockpit) -> None:
    first = trained(idle_cockpit, [1.0], best=1)
    imported = idle_cockpit.store.add(lambda number: make_round(number, Status.IMPORTED, result=IMPORTED))
    sentence = "round 2 kept no scores of its held-out rows, so whether the difference is real is unknown"
    assert verdict(idle_cockpit.workspace, first, imported).sentence == sentence
    assert verdict(idle_cockpit.workspace, imported, first).sentence == sentence
    unmeasured = msgspec.structs.replace(first, result=Result())
    assert verdict(idle_cockpit.workspace, unmeasured, first).sentence == "round 1 has no perplexity to compare"

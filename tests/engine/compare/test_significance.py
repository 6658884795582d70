"""Verdicts on rounds from the scores in their run directories."""

from __future__ import annotations

import msgspec

from engine.api import Cockpit
from engine.compare.significance import verdict
from engine.spec.round import Result, Status
from tests.support.recorded_runs import trained
from tests.support.rounds import make_round

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
    sentence = "round 2 kept no scores of its held-out rows, so it is not known whether the difference is real"
    assert verdict(idle_cockpit.workspace, first, imported).sentence == sentence
    assert verdict(idle_cockpit.workspace, imported, first).sentence == sentence
    unmeasured = msgspec.structs.replace(first, result=Result())
    assert verdict(idle_cockpit.workspace, unmeasured, first).sentence == "round 1 has no perplexity to compare"

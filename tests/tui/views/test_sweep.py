from __future__ import annotations

import math
from typing import Any

import pytest

from engine.spec.round import Result, Round, Status, Trial
from engine.sweeps.progress import progress_of
from engine.sweeps.sweep import Sweep
from tests.support.rounds import make_round, make_spec
from tui.views.sweep import best_first, best_so_far, now_in_words, settings_in_words, state_in_words


def make_sweep(**fields: Any) -> Sweep:
    values: dict[str, Any] = {"number": 1, "ranges": {"lora.r": "8, 16"}, "spec": make_spec(), "created": 0.0}
    return Sweep(**values | {"trials": 3} | fields)


def trial(number: int, status: Status, perplexity: float | None = None, **more: Any) -> Round:
    """A round of sweep 1 with the number of its setting; its rank is 8 times that."""
    part = Trial(sweep=1, setting=number, point={"lora.r": str(8 * number)})
    loss = None if perplexity is None else math.log(perplexity)
    return make_round(number, status, trial=part, result=Result(eval_loss=loss, perplexity=perplexity), **more)


def test_settings_that_are_done_are_counted_within_what_ends_the_sweep() -> None:
    rounds = [trial(1, Status.FINISHED, 3.0), trial(2, Status.STOPPED), trial(3, Status.RUNNING)]
    assert settings_in_words(progress_of(make_sweep(), rounds)) == "2 of 3"
    assert settings_in_words(progress_of(make_sweep(trials=None, budget_seconds=7200.0), rounds)) == "2 within 2h00m"


def test_settings_are_ordered_by_loss_with_the_unknown_last() -> None:
    rounds = [trial(1, Status.RUNNING), trial(2, Status.FINISHED, 4.0), trial(3, Status.FINISHED, 3.0)]
    ordered = best_first(progress_of(make_sweep(), rounds))
    assert [each.number for each in ordered] == [3, 2, 1]
    assert [state_in_words(each) for each in ordered] == ["finished", "finished", "running"]


def test_best_so_far_never_rises_and_follows_the_order_of_the_ends() -> None:
    ends = {1: 50.0, 2: 10.0, 3: 30.0}
    perplexities = {1: 3.0, 2: 5.0, 3: 6.0}
    rounds = [trial(number, Status.FINISHED, perplexities[number], ended=ends[number]) for number in ends]
    assert best_so_far(progress_of(make_sweep(), [*rounds, trial(4, Status.FAILED)])) == pytest.approx([5.0, 5.0, 3.0])


def test_what_a_sweep_does_now() -> None:
    def words(*rounds: Round, **fields: Any) -> str:
        return now_in_words(progress_of(make_sweep(**fields), rounds), {1: "40 %"})

    assert words(trial(1, Status.RUNNING)) == "round 1 trains setting 1 (r 8), 40 %"
    assert words(trial(1, Status.FINISHED, 3.0)) == "the next setting is chosen"
    assert words(trial(1, Status.FINISHED, 3.0), trial(2, Status.QUEUED)) == "round 2 waits in the queue"
    assert words(trial(1, Status.FINISHED, 3.0), trials=1) == "nothing runs: all settings are done"
    assert words(trial(1, Status.FINISHED, 3.0), stopped=9.0, message="no space") == "stopped: no space"
    assert words(trial(1, Status.HELD), stopped=9.0) == "round 1 waits in the queue"

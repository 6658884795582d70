from __future__ import annotations

import math
from typing import Any

import pytest

from engine.compare.reproduction import reproduction
from engine.runs.events import AnyEvent, Evaluated, Provenance
from tests.support.steps import step


def run(losses: list[float | None], evals: list[float], **origin: Any) -> list[AnyEvent]:
    steps = [step(number, loss=loss) for number, loss in enumerate(losses, 1)]
    evaluated = [
        Evaluated(time=1.0, step=at, eval_loss=loss, perplexity=math.exp(loss), supervised_tokens=9)
        for at, loss in enumerate(evals)
    ]
    return [Provenance(time=0.0, **origin), *steps, *evaluated]


def test_same_losses_are_identical() -> None:
    result = reproduction(run([2.0, 1.5, None], [3.0, 1.0]), run([2.0, 1.5, None], [3.0, 1.0]))
    assert (result.verdict, result.steps, result.evaluations, result.first_step) == ("identical", 3, 2, None)
    assert (result.step_difference, result.eval_difference) == (0.0, 0.0)


def test_losses_that_differ_in_the_last_digits_are_within_tolerance() -> None:
    result = reproduction(run([2.0, 1.0], [3.0, 1.0]), run([2.0, 1.009], [3.0, 1.0009]))
    assert (result.verdict, result.first_step) == ("within tolerance", 2)
    assert result.step_difference == pytest.approx(0.009 / 1.009)
    assert result.eval_difference == pytest.approx(0.0009 / 1.0009)


@pytest.mark.parametrize(
    ("losses", "evals"),
    [
        ([2.0, 1.02], [3.0, 1.0]), ([2.0, 1.0], [3.0, 1.002]), ([2.0], [3.0, 1.0]), ([2.0, 1.0, 1.0], [3.0, 1.0]),
        ([2.0, 1.0], [3.0]), ([2.0, None], [3.0, 1.0]),
    ],
    ids=["a step", "an evaluation", "a step less", "a step more", "an evaluation less", "not a number"],
)  # fmt: skip
def test_runs_that_came_out_otherwise_are_different(losses: list[float | None], evals: list[float]) -> None:
    assert reproduction(run([2.0, 1.0], [3.0, 1.0]), run(losses, evals)).verdict == "different"


def test_runs_without_steps_have_nothing_to_compare() -> None:
    assert reproduction([], []).verdict == "nothing to compare"


def test_what_was_not_the_same_is_named() -> None:
    first, second = run([1.0], [1.0], device="T4", git="aa"), run([1.0], [1.0], device="A100", git="aa")
    assert reproduction(first, second).origins == [("device", "T4", "A100")]


def test_steps_that_a_resumed_run_took_anew_count_once() -> None:
    first = run([2.0, 1.0], [3.0])
    resumed = [*run([2.0, 1.7], [3.0]), step(2, loss=1.0)]
    assert reproduction(first, resumed).verdict == "identical"


def test_run_of_an_earlier_version_has_no_origin_to_differ_by() -> None:
    assert reproduction(run([1.0], [1.0])[1:], run([1.0], [1.0])[1:]).origins == []

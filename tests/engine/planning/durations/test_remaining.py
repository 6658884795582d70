"""What a round still takes, against arithmetic by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.alerts.run_monitor import RunProgress
from engine.planning.durations.duration import Duration
from engine.planning.durations.remaining import Span, at, remaining
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status
from tests.support.rounds import make_round, make_spec

NOW = 5000.0
# 100 s of steps, and 40 s for start, base and three evaluations.
DURATION = Duration(140.0, (120.0, 180.0), steps=100.0, rounds=(1,))


def running(**fields: Any) -> Round:
    """A round that started 30 s ago, with evaluations after three epochs."""
    spec = make_spec(train__num_train_epochs=3.0, train__save_strategy="epoch", data__eval_fraction=0.1)
    plan = make_plan(spec, 100)
    assert plan.evaluations is not None and len(plan.evaluations) == 3
    fields = {"status": Status.RUNNING, "started": NOW - 30, "plan": plan, "result": Result(), **fields}
    return msgspec.structs.replace(make_round(2, spec=spec), **fields)


def at_step(step: int, seconds: float) -> RunProgress:
    return RunProgress(step=step, total_steps=10, remaining_seconds=seconds)


def test_before_the_first_step_it_is_what_alike_rounds_took_without_what_has_passed() -> None:
    for progress in (None, RunProgress(phase="loading model", total_steps=10)):
        assert remaining(running(), DURATION, progress, NOW) == Span(110.0, 90.0, 150.0)
    assert remaining(running(started=None), DURATION, None, NOW) == Span(140.0, 120.0, 180.0)


def test_pace_of_the_steps_counts_more_than_alike_rounds() -> None:
    """6 of 10 steps are to come, in 90 s, and with them 6/10 of the 40 s beside."""
    span = remaining(running(), DURATION, at_step(4, 90.0), NOW)
    assert span is not None
    assert msgspec.structs.astuple(span) == pytest.approx((114.0, 0.9 * 114, 1.1 * 114))


def test_start_is_over_once_there_is_a_step() -> None:
    """Without its 10 s, 6/10 of 30 s are to come."""
    span = remaining(running(), msgspec.structs.replace(DURATION, start=10.0), at_step(4, 90.0), NOW)
    assert span is not None and span.likely == pytest.approx(90 + 18)


def test_last_evaluation_is_still_to_come_after_the_last_step() -> None:
    """It is one of four, which took 40 s."""
    span = remaining(running(), DURATION, at_step(10, 0.0), NOW)
    assert span is not None and span.likely == pytest.approx(10.0)
    plan = msgspec.structs.replace(running().plan, evaluations=None)
    assert remaining(running(plan=plan), DURATION, at_step(10, 0.0), NOW) == at(0.0)


def test_pace_is_enough_where_no_round_is_alike() -> None:
    span = remaining(running(), None, at_step(5, 50.0), NOW)
    assert span is not None
    assert msgspec.structs.astuple(span) == pytest.approx((50.0, 45.0, 55.0))
    assert remaining(running(), None, None, NOW) is None


def test_overdue_round_ends_at_any_moment() -> None:
    assert remaining(running(started=NOW - 150), DURATION, None, NOW) == Span(0.0, 0.0, 30.0)


def test_stopping_round_ends_now() -> None:
    assert remaining(running(status=Status.STOPPING), DURATION, at_step(1, 99.0), NOW) == at(0.0)


def test_waiting_round_takes_its_whole_time_and_a_resumed_one_less() -> None:
    """The steps of 60 s are done; if its checkpoints are lost, it begins again."""
    assert remaining(running(status=Status.QUEUED), DURATION, None, NOW) == Span(140.0, 120.0, 180.0)
    resumed = running(status=Status.QUEUED, result=Result(train_seconds=60.0))
    assert remaining(resumed, DURATION, None, NOW) == Span(80.0, 60.0, 180.0)
    assert remaining(resumed, None, None, NOW) is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1e9])
def test_figures_that_cannot_be_give_no_time_or_a_longer_one(seconds: float) -> None:
    span = remaining(running(), None, at_step(1, seconds), NOW)
    assert span is None or span == at(0.0)
    span = remaining(running(started=seconds), DURATION, None, NOW)
    assert span is None or 0.0 <= span.least <= span.likely <= span.most <= 180.0
    span = remaining(running(status=Status.QUEUED, result=Result(train_seconds=seconds)), DURATION, None, NOW)
    assert span is None or 0.0 <= span.least <= span.likely <= span.most <= 180.0
    odd = msgspec.structs.replace(DURATION, interval=(-5.0, seconds))
    assert remaining(running(), odd, None, NOW) in (None, Span(110.0, 0.0, 0.0))

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec.plan import Plan, PlannedSteps, make_plan, planned_epochs, resolve_share, split_sizes
from tests.support.rounds import make_spec


def test_plan_of_the_reference_round() -> None:
    spec = make_spec(
        data__samples=2600,
        data__eval_fraction=0.1,
        train__per_device_train_batch_size=4,
        train__gradient_accumulation_steps=8,
        train__num_train_epochs=3.0,
        train__warmup_steps=100.0,
        train__save_strategy="epoch",
    )
    assert make_plan(spec, 2600) == Plan(
        train_samples=2340,
        eval_samples=260,
        effective_batch=32,
        steps_per_epoch=74,
        total_steps=222,
        warmup_steps=100,
        warmup_share=100 / 222,
        checkpoints=PlannedSteps(every=(74,), besides=(222,)),
        evaluations=PlannedSteps(every=(74,), besides=(222,)),
    )


@pytest.mark.parametrize(
    ("rows", "fraction", "train", "held_out"),
    [(2600, 0.1, 2340, 260), (10, 0.25, 7, 3), (10, 0.01, 9, 1), (2, 0.5, 1, 1), (2, 0.9, 0, 2), (999, 0.1, 899, 100)],
)
def test_held_out_rows_are_rounded_up(rows: int, fraction: float, train: int, held_out: int) -> None:
    assert split_sizes(rows, fraction) == (train, held_out)


@pytest.mark.parametrize(
    ("warmup", "total", "steps"),
    [(100, 222, 100), (0, 222, 0), (0.03, 222, 7), (0.5, 3, 2), (1, 222, 1), (1.9, 222, 1), (500, 222, 500)],
)
def test_warmup_below_one_is_a_share(warmup: float, total: int, steps: int) -> None:
    assert resolve_share(warmup, total) == steps


@pytest.mark.parametrize(
    ("strategy", "every", "epochs", "steps"),
    [
        ("no", 1, 2.0, [10, 20]),
        ("no", 1, 0.3, [1, 3]),
        ("no", 1, 0.1, [1]),
        ("epoch", 1, 2.0, [10, 20]),
        ("epoch", 1, 2.5, [10, 20, 25]),
        ("epoch", 1, 1.0, [5, 10]),
        ("epoch", 1, 0.5, [2, 5]),
        ("steps", 7, 2.0, [7, 14, 20]),
        ("steps", 10, 2.0, [10, 20]),
        ("steps", 50, 2.0, [10, 20]),
    ],
)
def test_checkpoints_follow_the_strategy(strategy: str, every: int, epochs: float, steps: list[int]) -> None:
    spec = make_spec(
        train__save_strategy=strategy,
        train__save_steps=every,
        train__num_train_epochs=epochs,
        train__per_device_train_batch_size=9,
        train__gradient_accumulation_steps=1,
    )
    plan = make_plan(spec, 100)
    assert (plan.steps_per_epoch, list(plan.checkpoints or ())) == (10, steps)


def test_unknown_rows_leave_only_the_batch() -> None:
    assert make_plan(make_spec(), None) == Plan(None, None, 32, None, None, None, None)


def test_no_training_row_makes_no_step() -> None:
    plan = make_plan(make_spec(data__eval_fraction=0.9), 2)
    assert (plan.train_samples, plan.total_steps, plan.warmup_share) == (0, 0, None)


@given(
    rows=st.integers(2, 100_000),
    batch=st.integers(1, 64),
    accumulation=st.integers(1, 64),
    epochs=st.integers(1, 5),
    strategy=st.sampled_from(["no", "epoch", "steps"]),
    every=st.integers(1, 200),
    best=st.booleans(),
)
def test_plan_holds_together(
    rows: int,
    batch: int,
    accumulation: int,
    epochs: int,
    strategy: Literal["no", "epoch", "steps"],
    every: int,
    best: bool,
) -> None:
    def plan_of(batch: int, accumulation: int) -> Plan:
        spec = make_spec(
            train__per_device_train_batch_size=batch,
            train__gradient_accumulation_steps=accumulation,
            train__num_train_epochs=float(epochs),
            train__save_strategy=strategy,
            train__save_steps=every,
            train__load_best_model_at_end=best,
            train__warmup_steps=0.1,
        )
        return make_plan(spec, rows)

    plan = plan_of(batch, accumulation)
    assert plan.train_samples is not None and plan.eval_samples is not None
    assert plan.steps_per_epoch is not None and plan.total_steps is not None
    assert plan.checkpoints is not None and plan.warmup_steps is not None
    assert plan.train_samples + plan.eval_samples == rows
    assert (plan.steps_per_epoch - 1) * batch * accumulation < plan.train_samples
    assert plan.train_samples <= plan.steps_per_epoch * batch * accumulation
    assert plan.total_steps == epochs * plan.steps_per_epoch
    assert 0 <= plan.warmup_steps <= plan.total_steps
    # The rule agrees with a list of steps, with one before the end and one at the end.
    steps = [step for step in range(1, plan.total_steps + 1) if step in plan.checkpoints]
    assert list(plan.checkpoints) == steps and len(plan.checkpoints) == len(steps)
    if plan.total_steps:
        assert steps[-1] == plan.total_steps
        assert len(steps) > 1 or plan.total_steps == 1
    periods = {"no": [], "epoch": [plan.steps_per_epoch], "steps": [every]}[strategy] + [plan.steps_per_epoch] * best
    for period in periods:
        assert set(range(period, plan.total_steps + 1, period)) <= set(steps)
    # Batch and accumulation may be traded for each other: only their product counts.
    assert plan_of(accumulation, batch) == plan
    assert plan_of(batch * accumulation, 1) == plan


@given(epochs=st.floats(0.01, 50), rows=st.integers(20, 5000))
def test_part_of_an_epoch_is_rounded_up_to_a_step(epochs: float, rows: int) -> None:
    plan = make_plan(make_spec(train__num_train_epochs=epochs), rows)
    assert plan.steps_per_epoch is not None and plan.total_steps is not None
    exact = epochs * plan.steps_per_epoch
    assert exact <= plan.total_steps < exact + 1
    assert plan.total_steps >= 1
    assert math.isclose(plan.warmup_share or 0.0, 0.0)


def test_checkpoints_of_a_million_steps_are_counted_and_told_at_once() -> None:
    spec = make_spec(
        train__save_strategy="steps",
        train__save_steps=1,
        train__num_train_epochs=10_000.0,
        train__per_device_train_batch_size=9,
        train__gradient_accumulation_steps=1,
    )
    checkpoints = make_plan(spec, 1000).checkpoints
    assert checkpoints == PlannedSteps(every=(1,), besides=(1_000_000,))
    assert len(checkpoints) == 1_000_000 and 999_999 in checkpoints
    assert str(checkpoints) == "after steps 1, 2, 3, 4, 5, …, 1,000,000"


@pytest.mark.parametrize(
    ("checkpoints", "words"),
    [
        (PlannedSteps((), (1,)), "after step 1"),
        (PlannedSteps((), (9, 18)), "after steps 9, 18"),
        (PlannedSteps((4, 6), (30,)), "after steps 4, 6, 8, 12, 16, …, 30"),
        (PlannedSteps((), ()), "none"),
    ],
)
def test_checkpoints_are_told_in_words(checkpoints: PlannedSteps, words: str) -> None:
    assert str(checkpoints) == words


@pytest.mark.parametrize(("epochs", "evaluations"), [(3.0, 3), (2.2, 3), (0.5, 1)])
def test_evaluations_are_those_of_epochs_and_of_the_end(epochs: float, evaluations: int) -> None:
    assert len(make_plan(make_spec(train__num_train_epochs=epochs), 1000).evaluations or ()) == evaluations
    assert make_plan(make_spec(), None).evaluations is None


def test_constant_schedule_has_no_warmup() -> None:
    def warmup(schedule: str) -> int | None:
        return make_plan(make_spec(train__lr_scheduler_type=schedule, train__warmup_steps=7.0), 1000).warmup_steps

    assert (warmup("constant"), warmup("constant_with_warmup")) == (0, 7)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [10, 20, 25]),
        ({"train__eval_strategy": "no"}, [25]),
        ({"train__eval_strategy": "steps", "train__eval_steps": 10.0}, [10, 20, 25]),
        ({"train__eval_strategy": "steps", "train__eval_steps": 0.3}, [8, 16, 24, 25]),
        ({"train__eval_strategy": "steps", "train__eval_steps": 100.0}, [25]),
        ({"data__eval_fraction": 0.0, "train__eval_strategy": "steps"}, []),
    ],
)
def test_evaluations_follow_their_own_strategy(settings: dict[str, object], steps: list[int]) -> None:
    spec = make_spec(
        train__num_train_epochs=2.5,
        train__per_device_train_batch_size=9,
        train__gradient_accumulation_steps=1,
        train__save_strategy="no",
        **settings,
    )
    rows = 100 if spec.data.eval_fraction else 90
    assert list(make_plan(spec, rows).evaluations or ()) == steps


def test_best_adapter_has_a_checkpoint_at_each_evaluation() -> None:
    spec = make_spec(
        train__per_device_train_batch_size=9,
        train__gradient_accumulation_steps=1,
        train__save_strategy="epoch",
        train__eval_strategy="steps",
        train__eval_steps=4.0,
        train__load_best_model_at_end=True,
    )
    plan = make_plan(spec, 100)
    assert plan.evaluations is not None and plan.checkpoints is not None
    assert set(plan.evaluations) == {4, 8, 12, 16, 20, 24, 28, 30}
    assert set(plan.checkpoints) == {4, 8, 10, 12, 16, 20, 24, 28, 30}


@pytest.mark.parametrize(("max_steps", "epochs"), [(60, 6.0), (7, 0.7), (1, 0.1)])
def test_max_steps_decides_whatever_the_epochs_are(max_steps: int, epochs: float) -> None:
    spec = make_spec(
        train__max_steps=max_steps,
        train__num_train_epochs=3.0,
        train__warmup_steps=0.5,
        train__per_device_train_batch_size=9,
        train__gradient_accumulation_steps=1,
    )
    plan = make_plan(spec, 100)
    assert (plan.total_steps, plan.steps_per_epoch, plan.warmup_steps) == (max_steps, 10, math.ceil(max_steps / 2))
    assert planned_epochs(spec.train, plan) == epochs
    assert max(plan.checkpoints or (0,)) == max(plan.evaluations or (0,)) == max_steps


def test_max_steps_is_known_before_the_rows() -> None:
    spec = make_spec(train__max_steps=60, train__warmup_steps=6.0)
    assert make_plan(spec, None) == Plan(None, None, 32, None, 60, 6, 0.1)
    assert planned_epochs(spec.train, make_plan(spec, None)) is None


def test_epochs_are_those_of_the_spec_without_max_steps() -> None:
    spec = make_spec(train__num_train_epochs=1.5)
    assert planned_epochs(spec.train, make_plan(spec, 11)) == 1.5

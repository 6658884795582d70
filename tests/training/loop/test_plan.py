"""The arithmetic of the plan against the libraries and against the rounds that are trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import DefaultFlowCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from engine.runs.events import Evaluated, Prepared, Saved
from engine.spec.plan import make_plan, resolve_share, split_sizes
from tests.support.rounds import make_spec
from tests.support.rounds_to_train import make_run, spec_of, steps_of, train_here

FRACTIONS = st.one_of(
    st.floats(0.001, 0.999),
    st.sampled_from([n / 20 for n in range(1, 20)]),  # what people type, where floating point rounds either way
)


@given(rows=st.integers(2, 3000), fraction=FRACTIONS)
def test_split_has_the_sizes_of_the_datasets_librarys(rows: int, fraction: float) -> None:
    sizes = split_sizes(rows, fraction)
    assume(sizes[0] > 0)  # the library refuses an empty split, and so does the engine
    parts = Dataset.from_dict({"n": range(rows)}).train_test_split(test_size=fraction, shuffle=False)
    assert sizes == (len(parts["train"]), len(parts["test"]))


@given(warmup=st.one_of(st.floats(0, 1), st.floats(1, 500), st.integers(0, 500)), total=st.integers(1, 10_000))
def test_warmup_is_that_of_transformers(warmup: float, total: int) -> None:
    arguments: Any = SimpleNamespace(warmup_steps=warmup)
    assert resolve_share(warmup, total) == TrainingArguments.get_warmup_steps(arguments, total)


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"train__save_strategy": "no"}, [10, 20]),
        ({"train__save_strategy": "epoch"}, [9, 18, 20]),
        ({"train__save_strategy": "epoch", "train__num_train_epochs": 0.5}, [2, 5]),
        ({"train__save_strategy": "steps", "train__save_steps": 5}, [5, 10, 15, 20]),
        ({"train__save_strategy": "steps", "train__save_steps": 6}, [6, 12, 18, 20]),
        ({"train__save_strategy": "steps", "train__save_steps": 21}, [10, 20]),
        ({"train__save_strategy": "no", "train__num_train_epochs": 0.1}, [1]),
        ({"train__save_strategy": "no", "train__load_best_model_at_end": True}, [9, 18, 20]),
    ],
)
def test_steps_and_checkpoints_are_the_plans(
    tiny_model: Path, tmp_path: Path, settings: dict[str, object], steps: list[int]
) -> None:
    run = make_run(tmp_path / "run", tiny_model, **settings)
    plan = make_plan(spec_of(run), 40)
    events = train_here(run)
    assert [step.step for step in steps_of(events)] == list(range(1, (plan.total_steps or 0) + 1))
    saved = [(event.step, event.path, event.final) for event in events if isinstance(event, Saved)]
    assert saved == [
        *((step, f"checkpoints/checkpoint-{step}", False) for step in steps),
        (plan.total_steps, "adapter", True),
    ]
    assert list(plan.checkpoints or ()) == steps
    assert sorted(path.name for path in run.checkpoints.glob("*")) == sorted(f"checkpoint-{step}" for step in steps)
    prepared = next(event for event in events if isinstance(event, Prepared))
    assert (prepared.train_samples, prepared.eval_samples) == (plan.train_samples, plan.eval_samples)


@pytest.mark.parametrize(
    ("settings", "evaluated"),
    [
        ({"train__eval_strategy": "steps", "train__eval_steps": 8.0}, [0, 8, 16, 20]),
        ({"train__eval_strategy": "no", "train__save_strategy": "epoch"}, [0, 20]),
        ({"train__max_steps": 12}, [0, 9, 12]),
    ],
)
def test_held_out_rows_are_scored_as_planned(
    tiny_model: Path, tmp_path: Path, settings: dict[str, object], evaluated: list[int]
) -> None:
    run = make_run(tmp_path / "run", tiny_model, **settings)
    plan = make_plan(spec_of(run), 40)
    events = train_here(run)
    assert [event.step for event in events if isinstance(event, Evaluated)] == evaluated
    assert [0, *(plan.evaluations or ())] == evaluated
    assert [step.step for step in steps_of(events)] == list(range(1, (plan.total_steps or 0) + 1))


@given(every=st.integers(1, 40), total=st.integers(1, 100))
def test_evaluations_are_those_of_transformers(every: int, total: int) -> None:
    """Ours are one more where the last step is no multiple: a round ends with a figure."""
    spec = make_spec(train__eval_strategy="steps", train__eval_steps=float(every), train__max_steps=total)
    arguments: Any = SimpleNamespace(
        logging_strategy=IntervalStrategy.NO,
        logging_first_step=False,
        eval_strategy=IntervalStrategy.STEPS,
        eval_delay=0,
        save_strategy=SaveStrategy.NO,
    )
    theirs = []
    for step in range(1, total + 1):
        state = TrainerState(global_step=step, max_steps=total, eval_steps=every)
        if DefaultFlowCallback().on_step_end(arguments, state, TrainerControl()).should_evaluate:
            theirs.append(step)
    assert list(make_plan(spec, 100).evaluations or ()) == sorted({*theirs, total})

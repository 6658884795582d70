"""The arithmetic of the plan against the libraries and against the rounds that are trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import TrainingArguments

from engine.runs.events import Prepared, Saved
from engine.spec.plan import make_plan, resolve_warmup, split_sizes
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
    assert resolve_warmup(warmup, total) == TrainingArguments.get_warmup_steps(arguments, total)


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

"""Arguments of a scheduler that it would not take are refused before a round is queued."""

from __future__ import annotations

import pytest

from engine.errors import SpecError
from engine.spec.plan import make_plan
from engine.spec.scheduler import scheduler_arguments
from tests.support.rounds import make_spec

MIN_LR = "cosine_with_min_lr"
STABLE = "warmup_stable_decay"


def arguments_of(name: str, text: str | None) -> dict[str, object]:
    spec = make_spec(
        train__lr_scheduler_type=name, train__lr_scheduler_kwargs=text, train__max_steps=50, train__warmup_steps=10.0
    )
    return scheduler_arguments(spec.train, make_plan(spec, 100))


def test_values_have_their_types() -> None:
    assert arguments_of("cosine_with_restarts", "num_cycles=2") == {"num_cycles": 2}
    assert arguments_of("polynomial", "power=2, lr_end=1e-6") == {"lr_end": 1e-6, "power": 2.0}
    assert arguments_of(STABLE, "num_decay_steps=40, decay_type=linear") == {
        "num_decay_steps": 40,
        "decay_type": "linear",
    }
    assert arguments_of("linear", None) == {}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("linear", "num_cycles=1", "unknown field `num_cycles`; linear takes no arguments"),
        ("cosine", "cycles=1", "unknown field `cycles`; cosine takes num_cycles"),
        ("cosine", "num_cycles=0", "> 0"),
        ("cosine", "num_cycles=nan", "> 0"),
        ("cosine_with_restarts", "num_cycles=1.5", "int"),
        ("polynomial", "power=much", "float"),
        ("polynomial", "lr_end=1", "lr_end must be below train.learning_rate 0.0002"),
        (MIN_LR, None, "exactly one of min_lr and min_lr_rate"),
        (MIN_LR, "min_lr=1e-5, min_lr_rate=0.1", "exactly one of min_lr and min_lr_rate"),
        (MIN_LR, "min_lr=1e-3", "min_lr must be below train.learning_rate 0.0002"),
        (STABLE, None, "missing required field `num_decay_steps`"),
        (STABLE, "num_decay_steps=41", "41 steps and a warm-up of 10 are more than the 50 of the round"),
        (STABLE, "num_decay_steps=20, num_stable_steps=30", "50 steps and a warm-up of 10"),
        (STABLE, "num_decay_steps=5, decay_type=none", "none"),
        ("greedy", None, "min_lr must be below train.learning_rate 0.0002"),
        ("greedy", "min_lr=0, max_lr=1e-5", "max_lr must be at least train.learning_rate 0.0002"),
        ("reduce_lr_on_plateau", "factor=1", "< 1"),
        ("reduce_lr_on_plateau", "mode=max", "unknown field `mode`"),
    ],
)
def test_what_a_scheduler_does_not_take_is_refused(name: str, text: str | None, reason: str) -> None:
    with pytest.raises(SpecError, match=r"^train\.lr_scheduler_kwargs is ") as refused:
        arguments_of(name, text)
    assert reason in str(refused.value)


@pytest.mark.parametrize("text", ["num_cycles", "num_cycles=", "=2", "num_cycles=2,", '{"num_cycles": 2}'])
def test_text_that_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="lr_scheduler_kwargs"):
        arguments_of("cosine", text)


@pytest.mark.parametrize("changes", [{"data__eval_fraction": 0.0}, {"train__eval_strategy": "no"}, {}], ids=str)
def test_scheduler_that_goes_by_the_eval_loss_needs_one_before_the_end(changes: dict[str, object]) -> None:
    settings: dict[str, object] = {"train__num_train_epochs": 1.0, "train__lr_scheduler_type": "reduce_lr_on_plateau"}
    spec = make_spec(**settings | changes)
    with pytest.raises(SpecError, match="none is measured before the last step"):
        scheduler_arguments(spec.train, make_plan(spec, 100))
    often = make_spec(**settings, train__eval_strategy="steps", train__eval_steps=0.25)
    assert scheduler_arguments(often.train, make_plan(often, 100)) == {"min_lr": 0.0}

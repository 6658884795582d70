"""The optimizer and its learning rates against those of transformers and peft."""

from __future__ import annotations

import dataclasses
import inspect
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import (
    AutoModelForCausalLM,
    Trainer,
    TrainingArguments,
    get_constant_schedule,
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_cosine_with_hard_restarts_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
    get_wsd_schedule,
)
from transformers.optimization import (
    TYPE_TO_SCHEDULER_FUNCTION,
    GreedyLR,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
)
from transformers.trainer_utils import SchedulerType

from engine.runs.events import Evaluated
from engine.spec.fields import spec_fields
from engine.spec.plan import make_plan
from engine.spec.scheduler import ARGUMENTS
from engine.training.loop.optimizer import learning_rates, make_optimizer, optimizer_of, set_learning_rate
from tests.support.rounds import make_spec
from tests.support.rounds_to_train import figures_of, make_run, steps_of, train_here
from tests.support.tiny_model import write_model

CPU = torch.device("cpu")
SCHEDULES: dict[str, tuple[str | None, Any]] = {
    "linear": (None, get_linear_schedule_with_warmup),
    "cosine": ("num_cycles=1.5", partial(get_cosine_schedule_with_warmup, num_cycles=1.5)),
    "cosine_with_restarts": ("num_cycles=3", partial(get_cosine_with_hard_restarts_schedule_with_warmup, num_cycles=3)),
    "cosine_with_min_lr": (
        "min_lr=1e-5",
        partial(get_cosine_with_min_lr_schedule_with_warmup, min_lr=1e-5),
    ),
    "cosine_warmup_with_min_lr": (
        "min_lr_rate=0.1, warmup_lr_rate=0.2",
        partial(get_cosine_with_min_lr_schedule_with_warmup_lr_rate, min_lr_rate=0.1, warmup_lr_rate=0.2),
    ),
    "polynomial": (
        " power = 2 ,lr_end=1e-6",
        partial(get_polynomial_decay_schedule_with_warmup, power=2.0, lr_end=1e-6),
    ),
    "inverse_sqrt": (
        "timescale=9",
        lambda optimizer, warmup, _total: get_inverse_sqrt_schedule(optimizer, warmup, timescale=9),
    ),
    "warmup_stable_decay": (
        "num_decay_steps=20, decay_type=1-sqrt",
        lambda optimizer, warmup, total: get_wsd_schedule(
            optimizer, warmup, num_decay_steps=20, num_training_steps=total, decay_type="1-sqrt"
        ),
    ),
    "constant": (None, lambda optimizer, _warmup, _total: get_constant_schedule(optimizer)),
    "constant_with_warmup": (
        None,
        lambda optimizer, warmup, _total: get_constant_schedule_with_warmup(optimizer, warmup),
    ),
}
BY_METRIC: dict[str, Any] = {"reduce_lr_on_plateau": ReduceLROnPlateau, "greedy": GreedyLR}
PLAIN = ("linear", "cosine", "constant", "constant_with_warmup")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model with every kind of trained parameter: both matrices, biases, a magnitude, an embedding's adapter."""
    directory = write_model(tmp_path_factory.mktemp("model") / "biased", attention_bias=True)
    base = AutoModelForCausalLM.from_pretrained(directory)
    targets = ["embed_tokens", "q_proj", "down_proj"]
    return get_peft_model(
        base, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=targets, bias="all", use_dora=True)
    )


@pytest.mark.parametrize("warmup", [0.0, 0.1, 7.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_of_every_step_is_that_of_transformers(name: str, warmup: float) -> None:
    arguments, scheduler = SCHEDULES[name]
    spec = make_spec(
        train__lr_scheduler_type=name,
        train__lr_scheduler_kwargs=arguments,
        train__warmup_steps=warmup,
        train__learning_rate=3e-4,
    )
    plan = make_plan(spec, 500)
    assert plan.total_steps is not None
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=3e-4)
    schedule = scheduler(optimizer, plan.warmup_steps, plan.total_steps)
    theirs = []
    for _ in range(plan.total_steps):
        theirs.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    ours = learning_rates(spec.train, plan, list)
    assert [ours(step) for step in range(1, plan.total_steps + 1)] == pytest.approx(theirs, rel=1e-12)


def test_every_scheduler_takes_the_arguments_that_transformers_gives_it() -> None:
    """All but the mode, as a low loss is always the better one, and those for output."""
    assert list(ARGUMENTS) and set(ARGUMENTS) == {kind.value for kind in SchedulerType}
    own = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "mode", "verbose"}
    for kind in ARGUMENTS:
        function: Any = BY_METRIC.get(kind, TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(kind)])
        theirs = set(inspect.signature(function).parameters) - own
        assert set(ARGUMENTS[kind].__struct_fields__) == theirs, kind


@pytest.mark.parametrize("begin", [0, 50])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("reduce_lr_on_plateau", {"factor": 0.5, "patience": 1}),
        ("reduce_lr_on_plateau", {"patience": 0, "threshold": 0.1, "threshold_mode": "abs", "min_lr": 1e-6}),
        ("greedy", {"patience": 1, "min_lr": 1e-5, "max_lr": 1e-2, "factor": 0.5}),
        ("greedy", {"patience": 0, "min_lr": 1e-5, "smooth": True, "window_size": 2, "warmup": 1}),
    ],
)
def test_learning_rate_follows_the_eval_loss_as_in_transformers(
    name: str, arguments: dict[str, Any], begin: int
) -> None:
    """The schedule steps after each evaluation, as in transformers' Trainer, also in a round that is resumed."""
    spec = make_spec(
        train__lr_scheduler_type=name,
        train__lr_scheduler_kwargs=", ".join(f"{key}={value}" for key, value in arguments.items()),
        train__learning_rate=3e-4,
        train__eval_strategy="steps",
        train__eval_steps=10,
        train__max_steps=100,
    )
    plan = make_plan(spec, 500)
    losses = [2.0, 1.5, 1.6, 1.4, 1.39, 1.395, 1.38, 1.5, 1.6, 1.7]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=3e-4)
    schedule = BY_METRIC[name](optimizer, **arguments)
    events = [Evaluated(time=1.0, step=0, eval_loss=9.0, perplexity=None, supervised_tokens=1)]
    theirs, measured = {}, events.copy()
    for step in range(1, 101):
        theirs[step] = optimizer.param_groups[0]["lr"]
        if step % 10 == 0:
            schedule.step(loss := losses[step // 10 - 1])
            events.append(Evaluated(time=1.0, step=step, eval_loss=loss, perplexity=None, supervised_tokens=1))
    assert len(set(theirs.values())) > 1
    ours, rates = learning_rates(spec.train, plan, lambda: measured), {}
    for step in range(1, 101):
        if step > begin:
            rates[step] = ours(step)
        measured += [event for event in events if event.step == step]
    assert rates == {step: rate for step, rate in theirs.items() if step > begin}


def test_round_takes_half_the_rate_after_evaluations_without_gain(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", tiny_model, train__lr_scheduler_type="reduce_lr_on_plateau",
        train__lr_scheduler_kwargs="factor=0.5, patience=0, threshold=0.99", train__eval_strategy="steps",
        train__eval_steps=5, train__max_steps=15,
    )  # fmt: skip
    assert [step.learning_rate for step in steps_of(train_here(run))] == [*[1e-2] * 10, *[5e-3] * 5]


@pytest.mark.parametrize("name", PLAIN)
def test_round_is_trained_at_these_rates(tiny_model: Path, tmp_path: Path, name: str) -> None:
    rates = [
        step.learning_rate
        for step in steps_of(train_here(make_run(tmp_path / "run", tiny_model, train__lr_scheduler_type=name)))
    ]
    assert rates[0] == (1e-2 if name == "constant" else 0.0)
    assert (rates[-1] == 1e-2) is name.startswith("constant")
    if name == "cosine":
        assert rates[2:] == pytest.approx([1e-2 * (1 + math.cos(math.pi * n / 18)) / 2 for n in range(18)])


OPTIMIZERS = spec_fields()["train.optim"].choices


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_and_its_options_are_those_of_the_trainer(name: str, tmp_path: Path) -> None:
    betas: dict[str, Any] = {"adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6}
    spec = make_spec(train__optim=name, **{f"train__{key}": value for key, value in betas.items()})
    arguments: Any = TrainingArguments(str(tmp_path), optim=name, use_cpu=True, **betas)
    their_class, theirs = Trainer.get_optimizer_cls_and_kwargs(arguments)
    our_class, ours = optimizer_of(spec.train, torch.device("cuda"))
    theirs.pop("lr")
    assert our_class is their_class
    assert {"fused": False} | ours == {"fused": False} | theirs


def decay_of(optimizer: torch.optim.Optimizer, model: Any) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }


def test_weight_decay_applies_to_the_parameters_that_transformers_decays(adapted: Any) -> None:
    optimizer = make_optimizer(adapted, make_spec(train__weight_decay=0.1), CPU)
    names_of: Any = Trainer.get_decay_parameter_names  # which does not use its trainer
    decayed = set(names_of(None, adapted))
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert decay_of(optimizer, adapted) == {name: 0.1 if name in decayed else 0.0 for name in trained}
    assert {name.rpartition(".")[2] for name in trained - decayed} == {"bias"}


def test_loraplus_groups_are_pefts(adapted: Any) -> None:
    spec = make_spec(train__weight_decay=0.1, train__learning_rate=3e-4, lora__loraplus_lr_ratio=16.0)
    ours = make_optimizer(adapted, spec, CPU)
    theirs = create_loraplus_optimizer(
        adapted, torch.optim.AdamW, lr=3e-4, loraplus_lr_ratio=16.0, loraplus_weight_decay=0.1
    )
    assert decay_of(ours, adapted) == decay_of(theirs, adapted)
    for share in (1.0, 0.25):
        set_learning_rate(ours, share * 3e-4)
        for group, other in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert list(map(id, group["params"])) == list(map(id, other["params"]))
            assert group["lr"] == pytest.approx(share * other["lr"], rel=1e-12)
    assert sorted({round(group["lr"] / 3e-4, 6) for group in ours.param_groups}) == [0.000833, 0.25, 4.0]


def test_plain_adapter_learns_at_one_rate(adapted: Any) -> None:
    optimizer = make_optimizer(adapted, make_spec(), CPU)
    set_learning_rate(optimizer, 1.7e-3)
    assert {(group["lr"], group["weight_decay"]) for group in optimizer.param_groups} == {(1.7e-3, 0.0)}


@pytest.mark.parametrize("settings", [{"train__weight_decay": 0.1}, {"lora__loraplus_lr_ratio": 4.0}])
def test_round_is_trained_with_it(
    reference: Any, tiny_model: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    """The first update of an adapter whose B is zero changes only B, so the third loss is the first to differ."""
    events = train_here(make_run(tmp_path / "run", tiny_model, **settings))
    ours, plain = figures_of(events), figures_of(reference[1])
    assert ours[0] == plain[0]
    assert ours[5][:3] != plain[5][:3]


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_gradient_is_clipped_to_the_norm_of_the_spec(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_grad_norm: float
) -> None:
    norms: list[float] = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *arguments: Any, **options: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients)))
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    events = train_here(make_run(tmp_path / "run", tiny_model, train__max_grad_norm=max_grad_norm))
    recorded = [event.grad_norm or 0.0 for event in steps_of(events)]
    assert norms == pytest.approx([min(norm, max_grad_norm or math.inf) for norm in recorded], rel=1e-4)
    assert max(recorded) > 0.05


def test_defaults_are_those_of_the_libraries() -> None:
    spec, lora = make_spec(), LoraConfig()
    theirs = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    for name in ("weight_decay", "max_grad_norm", "save_total_limit", "load_best_model_at_end", "lr_scheduler_type",
                 "optim", "adam_beta1", "adam_beta2", "adam_epsilon", "lr_scheduler_kwargs"):  # fmt: skip
        assert getattr(spec.train, name) == theirs[name]
    assert (spec.lora.use_rslora, spec.lora.use_dora, lora.init_lora_weights) == (lora.use_rslora, lora.use_dora, True)

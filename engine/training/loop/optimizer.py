"""The optimizer over the trained parameters, and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft.optimizers import create_loraplus_optimizer
from transformers import Adafactor, get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

from engine.runs.events import Evaluated
from engine.spec.plan import Plan
from engine.spec.scheduler import BY_EVAL_LOSS, scheduler_arguments
from engine.spec.schema import Spec, TrainSpec

# The exclusions of transformers' `Trainer.get_decay_parameter_names`.
NOT_DECAYED = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


def make_optimizer(model: Any, spec: Spec, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimizer over the trainable parameters of `model`, with decay on all but biases and norms.

    With `loraplus_lr_ratio` it has peft's groups (LoRA+, https://arxiv.org/abs/2402.12354): the learning rate of B
    matrices and biases is that many times higher, that of an adapter on an embedding is peft's fixed 1e-6.
    """
    train, ratio = spec.train, spec.lora.loraplus_lr_ratio
    optimizer_class, options = optimizer_of(train, device)
    optimizer: torch.optim.Optimizer
    if ratio is None:
        optimizer = optimizer_class(_decay_groups(model, train.weight_decay), lr=train.learning_rate, **options)
    else:
        optimizer = create_loraplus_optimizer(
            model,
            optimizer_class,
            lr=train.learning_rate,
            loraplus_lr_ratio=ratio,
            loraplus_weight_decay=train.weight_decay,
            **options,
        )
    for group in optimizer.param_groups:
        group["lr_ratio"] = group["lr"] / train.learning_rate
    return optimizer


def optimizer_of(train: TrainSpec, device: torch.device) -> tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]:
    """Return the class that `train.optim` names and its options, as `transformers.Trainer` chooses them.

    Only fused kernels and paged memory depend on the device, which may have none.
    """
    betas = (train.adam_beta1, train.adam_beta2)
    if train.optim in ("adamw_torch", "adamw_torch_fused"):
        fused = train.optim == "adamw_torch_fused" and device.type in ("cuda", "cpu")
        return torch.optim.AdamW, {"betas": betas, "eps": train.adam_epsilon, "fused": fused}
    if train.optim == "adafactor":
        return Adafactor, {"scale_parameter": False, "relative_step": False}
    from bitsandbytes import optim as bitsandbytes  # an optional package, which is slow to import

    paged = "paged" in train.optim and device.type == "cuda"  # elsewhere there is no memory to page to
    options = {"betas": betas, "optim_bits": 8 if "8bit" in train.optim else 32, "is_paged": paged}
    if "lion" in train.optim:
        return bitsandbytes.Lion, options
    return bitsandbytes.AdamW, options | {"eps": train.adam_epsilon}


def _decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed = get_parameter_names(model, [torch.nn.LayerNorm], NOT_DECAYED)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for name, parameter in trained if name in decayed], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in trained if name not in decayed], "weight_decay": 0.0},
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set `learning_rate`, that of the A matrices, on each group by the group's ratio."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_ratio"]


def learning_rates(
    train: TrainSpec, plan: Plan, evaluations: Callable[[], Sequence[Evaluated]]
) -> Callable[[int], float]:
    """Return the learning rate as a function of the step, from 1, by transformers' scheduler of the spec.

    `evaluations` returns those of the round so far, for a scheduler that goes by the eval loss.

    Raises:
        SpecError: the scheduler does not take the arguments in the spec.
    """
    assert plan.total_steps is not None and plan.warmup_steps is not None
    unused = torch.optim.SGD([torch.zeros(1)], lr=train.learning_rate)  # the scheduler needs an optimizer to write to
    arguments = scheduler_arguments(train, plan)
    scheduler = get_scheduler(
        train.lr_scheduler_type, unused, plan.warmup_steps, plan.total_steps, scheduler_specific_kwargs=arguments
    )
    if train.lr_scheduler_type not in BY_EVAL_LOSS:
        factor = scheduler.lr_lambdas[0]
        return lambda step: train.learning_rate * factor(step - 1)
    rates = [train.learning_rate]  # after none, one, two, ... evaluations

    def rate(step: int) -> float:
        losses = [event.eval_loss for event in evaluations() if 0 < event.step < step]
        for loss in losses[len(rates) - 1 :]:
            scheduler.step(loss)
            rates.append(unused.param_groups[0]["lr"])
        return rates[len(losses)]

    return rate

"""AdamW over the trained parameters, and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft.optimizers import create_loraplus_optimizer
from transformers import get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

from engine.spec.plan import Plan
from engine.spec.schema import Spec, TrainSpec

# The exclusions of transformers' `Trainer.get_decay_parameter_names`.
NOT_DECAYED = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


def make_optimizer(model: Any, spec: Spec, device: torch.device) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters of `model`, with decoupled decay on all but biases and norms.

    With `loraplus_lr_ratio` it has peft's groups (LoRA+, https://arxiv.org/abs/2402.12354): the learning rate of B
    matrices and biases is that many times higher, that of an adapter on an embedding is peft's fixed 1e-6.
    """
    train, ratio = spec.train, spec.lora.loraplus_lr_ratio
    fused = device.type in ("cuda", "cpu")
    optimizer: torch.optim.AdamW
    if ratio is None:
        optimizer = torch.optim.AdamW(_decay_groups(model, train.weight_decay), lr=train.learning_rate, fused=fused)
    else:
        optimizer = create_loraplus_optimizer(
            model,
            torch.optim.AdamW,
            lr=train.learning_rate,
            loraplus_lr_ratio=ratio,
            loraplus_weight_decay=train.weight_decay,
            fused=fused,
        )
    for group in optimizer.param_groups:
        group["lr_ratio"] = group["lr"] / train.learning_rate
    return optimizer


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


def learning_rates(train: TrainSpec, plan: Plan) -> Callable[[int], float]:
    """Return the learning rate as a function of the step, from 1, by transformers' scheduler of the spec."""
    assert plan.total_steps is not None and plan.warmup_steps is not None
    unused = torch.optim.SGD([torch.zeros(1)], lr=train.learning_rate)  # the scheduler needs an optimizer to write to
    factor = get_scheduler(train.lr_scheduler_type, unused, plan.warmup_steps, plan.total_steps).lr_lambdas[0]
    return lambda step: train.learning_rate * factor(step - 1)

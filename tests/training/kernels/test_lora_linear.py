"""A LoRA layer as one function is peft's own layer: its numbers, its gradients, its random numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from engine.training.kernels.dropout import FastDropout, use_fast_dropout
from engine.training.kernels.head_loss import autocast
from engine.training.kernels.lora_linear import fuse_lora
from tests.support.passes import relative_error

CPU = torch.device("cpu")
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = torch.nn.Linear(24, 40)

    def forward(self, hidden: torch.Tensor) -> Any:
        return self.q_proj(hidden)


def adapted(dtype: torch.dtype, dropout: float = 0.2, **options: Any) -> Any:
    """A layer with an adapter that adds something, learning; `bias` names those that are trained."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=9, lora_dropout=dropout, target_modules=["q_proj"], **options)
    block: Any = Block().to(dtype)
    model: Any = get_peft_model(block, config)
    layer = model.base_model.model.q_proj
    layer.cast_input_dtype_enabled = False
    use_fast_dropout(layer.lora_dropout)
    for parameter in (*layer.lora_A.parameters(), *layer.lora_B.parameters()):
        parameter.data = torch.randn(parameter.shape)
    return model.train()


def learned(model: Any, dtype: torch.dtype, needs_gradient: bool = True) -> list[torch.Tensor]:
    """What comes of some rows, the gradient by them, and those by the adapter."""
    torch.manual_seed(1)
    given = torch.randn(3, 7, 24).to(dtype).requires_grad_(needs_gradient)
    weights = torch.randn(3, 7, 40).to(dtype)
    with autocast(CPU, dtype):
        found = model(given)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wanted = [given, *wanted] if needs_gradient else wanted
    return [found, *torch.autograd.grad(found, wanted, weights)]


def names_of(tensor: torch.Tensor) -> set[str]:
    """The steps that `tensor` came by."""
    seen, names, left = set(), set(), [tensor.grad_fn]
    while left:
        step = left.pop()
        if step is not None and step not in seen:
            seen.add(step)
            names.add(type(step).__name__)
            left += [before for before, _ in step.next_functions]
    return names


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("needs_gradient", [False, True])
@pytest.mark.parametrize("use_rslora", [False, True])
def test_it_is_pefts_own_layer(
    dtype: torch.dtype, dropout: float, biased: bool, needs_gradient: bool, use_rslora: bool
) -> None:
    theirs = adapted(dtype, dropout, use_rslora=use_rslora)
    if not biased:
        theirs.base_model.model.q_proj.get_base_layer().bias = None
    ours = copy.deepcopy(theirs)
    assert fuse_lora(ours) == 1
    results = learned(ours, dtype, needs_gradient)
    assert "_LearningBackward" in names_of(results[0])
    for found, wanted in zip(results, learned(theirs, dtype, needs_gradient), strict=True):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        assert relative_error(found, wanted) < ROUNDING[dtype]


@pytest.mark.parametrize(
    "options",
    [{"use_dora": True}, {"lora_bias": True}, {"bias": "all"}, {"dropout": 1.0}],
    ids=lambda given: next(iter(given)),
)
def test_what_is_more_than_that_stays_pefts(options: dict[str, Any]) -> None:
    theirs = adapted(torch.float32, **options)
    ours = copy.deepcopy(theirs)
    fuse_lora(ours)
    results = learned(ours, torch.float32)
    assert "_LearningBackward" not in names_of(results[0])
    for found, wanted in zip(results, learned(theirs, torch.float32), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_no_operation_is_saved_or_hidden(needs_gradient: bool) -> None:
    """What torch counts is what it counts of peft's own."""
    theirs = adapted(torch.float32)
    ours = copy.deepcopy(theirs)
    fuse_lora(ours)
    counts = []
    for model in (theirs, ours):
        given = torch.randn(5, 24, requires_grad=needs_gradient)
        with FlopCounterMode(display=False) as counter:
            model(given).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_without_learning_it_is_pefts_own() -> None:
    theirs = adapted(torch.float32)
    ours = copy.deepcopy(theirs)
    fuse_lora(ours)
    given = torch.randn(2, 24)
    for model in (theirs, ours):
        model.eval()
    assert torch.equal(ours(given), theirs(given))
    with theirs.disable_adapter(), ours.disable_adapter():
        assert torch.equal(ours.train()(given), theirs.train()(given))


def test_drawing_keeps_the_share_it_says() -> None:
    keeps, scale = FastDropout(0.25).draw(torch.empty(1000, 1000))
    assert scale == 4 / 3 and float(keeps.mean()) == pytest.approx(0.75, abs=0.002)

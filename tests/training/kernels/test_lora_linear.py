"""A fused LoRA layer against peft's own: outputs, gradients and random numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from engine.training.kernels.dropout import FastDropout, dropout_sites
from engine.training.kernels.head_loss import autocast
from engine.training.kernels.lora_linear import lora_sites
from tests.support.passes import relative_error, replace_in_module

CPU = torch.device("cpu")
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = torch.nn.Linear(24, 40)

    def forward(self, hidden: torch.Tensor) -> Any:
        return self.q_proj(hidden)


def adapted(dtype: torch.dtype, dropout: float = 0.2, **options: Any) -> Any:
    """Return a layer in training whose adapter is not zero; `options` are those of LoraConfig."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=9, lora_dropout=dropout, target_modules=["q_proj"], **options)
    block: Any = Block().to(dtype)
    model: Any = get_peft_model(block, config)
    layer = model.base_model.model.q_proj
    layer.cast_input_dtype_enabled = False
    for parameter in (*layer.lora_A.parameters(), *layer.lora_B.parameters()):
        parameter.data = torch.randn(parameter.shape)
    model.train()
    replace_in_module(dropout_sites, model, torch.randn(3, 24, dtype=dtype), dtype)
    return model


def outputs_and_gradients(model: Any, dtype: torch.dtype, needs_gradient: bool = True) -> list[torch.Tensor]:
    """Return the output of some rows, its gradient by them if asked for, and those by the adapter."""
    torch.manual_seed(1)
    hidden = torch.randn(3, 7, 24).to(dtype).requires_grad_(needs_gradient)
    weights = torch.randn(3, 7, 40).to(dtype)
    with autocast(CPU, dtype):
        output = model(hidden)
    inputs = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inputs = [hidden, *inputs] if needs_gradient else inputs
    return [output, *torch.autograd.grad(output, inputs, weights)]


def autograd_names(tensor: torch.Tensor) -> set[str]:
    """Return the names of all nodes in the autograd graph of `tensor`."""
    visited, names, pending = set(), set(), [tensor.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in visited:
            visited.add(node)
            names.add(type(node).__name__)
            pending += [before for before, _ in node.next_functions]
    return names


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("needs_gradient", [False, True])
@pytest.mark.parametrize("use_rslora", [False, True])
def test_outputs_and_gradients_are_those_of_pefts_layer(
    dtype: torch.dtype, dropout: float, biased: bool, needs_gradient: bool, use_rslora: bool
) -> None:
    theirs = adapted(dtype, dropout, use_rslora=use_rslora)
    if not biased:
        theirs.base_model.model.q_proj.get_base_layer().bias = None
    ours = copy.deepcopy(theirs)
    assert replace_in_module(lora_sites, ours, torch.randn(3, 24, dtype=dtype), dtype) == 1
    results = outputs_and_gradients(ours, dtype, needs_gradient)
    assert "_FusedLoraBackward" in autograd_names(results[0])
    for actual, expected in zip(results, outputs_and_gradients(theirs, dtype, needs_gradient), strict=True):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        assert relative_error(actual, expected) < ROUNDING[dtype]


@pytest.mark.parametrize(
    "options",
    [{"use_dora": True}, {"lora_bias": True}, {"bias": "all"}, {"dropout": 1.0}],
    ids=lambda options: next(iter(options)),
)
def test_variants_are_left_to_peft(options: dict[str, Any]) -> None:
    theirs = adapted(torch.float32, **options)
    ours = copy.deepcopy(theirs)
    replace_in_module(lora_sites, ours, torch.randn(3, 24))
    results = outputs_and_gradients(ours, torch.float32)
    assert "_FusedLoraBackward" not in autograd_names(results[0])
    for actual, expected in zip(results, outputs_and_gradients(theirs, torch.float32), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_flops_are_those_of_pefts_layer(needs_gradient: bool) -> None:
    """Torch counts as many FLOPs as for peft's layer."""
    theirs = adapted(torch.float32)
    ours = copy.deepcopy(theirs)
    replace_in_module(lora_sites, ours, torch.randn(3, 24))
    counts = []
    for model in (theirs, ours):
        hidden = torch.randn(5, 24, requires_grad=needs_gradient)
        with FlopCounterMode(display=False) as counter:
            model(hidden).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_without_training_pefts_layer_is_used() -> None:
    theirs = adapted(torch.float32)
    ours = copy.deepcopy(theirs)
    replace_in_module(lora_sites, ours, torch.randn(3, 24))
    hidden = torch.randn(2, 24)
    for model in (theirs, ours):
        model.eval()
    assert torch.equal(ours(hidden), theirs(hidden))
    with theirs.disable_adapter(), ours.disable_adapter():
        assert torch.equal(ours.train()(hidden), theirs.train()(hidden))


def test_mask_keeps_the_share_that_its_scale_says() -> None:
    mask, scale = FastDropout(0.25).draw_mask(torch.empty(1000, 1000))
    assert scale == 4 / 3 and float(mask.float().mean()) == pytest.approx(0.75, abs=0.002)

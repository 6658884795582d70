"""Dropout whose random numbers are drawn four at a time: its rate, its mean, and that elements are independent."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from engine.training.kernels.dropout import LEVELS, FastDropout
from engine.training.model.adapter import add_adapter
from engine.training.model.operations import replace_operations
from tests.support.passes import SMALL
from tests.support.rounds import make_spec


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rate_is_right_and_the_mean_is_kept(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 1_000_003
    hidden = torch.ones(count, dtype=dtype, requires_grad=True)
    dropped = FastDropout(rate)(hidden)
    keep_probability = round((1 - rate) * LEVELS) / LEVELS
    values = dropped.detach().unique().tolist()
    assert values == pytest.approx([0.0, 1 / keep_probability], rel=0.004 if dtype == torch.bfloat16 else 1e-6)
    deviation = math.sqrt(keep_probability * (1 - keep_probability) / count)
    assert float((dropped != 0).float().mean()) == pytest.approx(keep_probability, abs=4 * deviation)
    dropped.sum().backward()
    assert hidden.grad is not None and torch.equal(hidden.grad, dropped)


def test_neighbours_are_dropped_independently() -> None:
    """One random number of 64 bits decides over four neighbours."""
    torch.manual_seed(0)
    mask = (FastDropout(0.5)(torch.ones(2**20)) != 0).view(-1, 4).int()
    patterns = torch.bincount(mask @ torch.tensor([8, 4, 2, 1], dtype=torch.int32), minlength=16)
    expected = 2**18 / 16
    chi_squared = float(((patterns - expected) ** 2 / expected).sum())
    assert chi_squared < 37.7  # of 15 degrees of freedom, once in a thousand


def test_same_state_of_torchs_generator_gives_the_same_mask() -> None:
    dropout, hidden = FastDropout(0.3), torch.randn(7, 11)
    state = torch.get_rng_state()
    first, second = dropout(hidden), dropout(hidden)
    torch.set_rng_state(state)
    assert torch.equal(dropout(hidden), first) and not torch.equal(first, second)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_ends_of_the_range_and_evaluation_are_torchs(rate: float) -> None:
    hidden = torch.randn(5)
    assert torch.equal(FastDropout(rate)(hidden), torch.nn.Dropout(rate)(hidden))
    assert torch.equal(FastDropout(0.5).eval()(hidden), hidden)


def test_adapters_use_it() -> None:
    model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**SMALL))
    adapted = add_adapter(model, make_spec(lora__lora_dropout=0.2, lora__target_modules="all-linear"))
    replace_operations(adapted, torch.device("cpu"), torch.float32, 24)
    kinds = [type(module) for module in adapted.modules() if isinstance(module, torch.nn.Dropout)]
    assert kinds == [FastDropout] * 14

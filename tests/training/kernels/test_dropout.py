"""Dropout drawn four at a time is dropout."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from engine.training.kernels.dropout import LEVELS, FastDropout
from engine.training.model.adapter import add_adapter
from tests.support.passes import SMALL
from tests.support.rounds import make_spec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by a name of yesterday


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_drops_that_share_and_keeps_the_mean(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 1_000_003
    given = torch.ones(count, dtype=dtype, requires_grad=True)
    found = FastDropout(share)(given)
    kept = round((1 - share) * LEVELS) / LEVELS
    values = found.detach().unique().tolist()
    assert values == pytest.approx([0.0, 1 / kept], rel=0.004 if dtype == torch.bfloat16 else 1e-6)
    deviation = math.sqrt(kept * (1 - kept) / count)
    assert float((found != 0).float().mean()) == pytest.approx(kept, abs=4 * deviation)
    found.sum().backward()
    assert given.grad is not None and torch.equal(given.grad, found)


def test_neighbours_are_dropped_independently() -> None:
    """Though one drawn number decides over four of them."""
    torch.manual_seed(0)
    kept = (FastDropout(0.5)(torch.ones(2**20)) != 0).view(-1, 4).int()
    patterns = torch.bincount(kept @ torch.tensor([8, 4, 2, 1], dtype=torch.int32), minlength=16)
    expected = 2**18 / 16
    chi_squared = float(((patterns - expected) ** 2 / expected).sum())
    assert chi_squared < 37.7  # of 15 degrees of freedom, once in a thousand


def test_it_follows_from_torchs_generator() -> None:
    dropout, given = FastDropout(0.3), torch.randn(7, 11)
    state = torch.get_rng_state()
    first, second = dropout(given), dropout(given)
    torch.set_rng_state(state)
    assert torch.equal(dropout(given), first) and not torch.equal(first, second)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_ends_of_the_range_and_evaluation_are_torchs(share: float) -> None:
    given = torch.randn(5)
    assert torch.equal(FastDropout(share)(given), torch.nn.Dropout(share)(given))
    assert torch.equal(FastDropout(0.5).eval()(given), given)


def test_adapters_have_it() -> None:
    model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**SMALL))
    adapted = add_adapter(model, make_spec(lora__lora_dropout=0.2, lora__target_modules="all-linear"))
    kinds = [type(module) for module in adapted.modules() if isinstance(module, torch.nn.Dropout)]
    assert kinds == [FastDropout] * 14

"""Rotation in fewer kernels: the model's own outputs and gradients, or the model's own function."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, CohereConfig
from transformers.models.llama import modeling_llama

from engine.training.kernels import rotary
from engine.training.kernels.head_loss import autocast
from engine.training.kernels.rotary import FUNCTION, rotary_sites
from tests.support.passes import (
    CPU,
    FAMILIES,
    SMALL,
    TARGETS,
    adapted,
    gradients_of,
    plain_nll,
    relative_error,
    replace_operation,
    rows_of,
)

ORIGINAL = modeling_llama.apply_rotary_pos_emb


@pytest.fixture(autouse=True)
def restored_functions() -> Iterator[None]:
    """Put transformers' own functions back afterwards."""
    modules = [module for name, module in sys.modules.items() if name.startswith("transformers.models.")]
    own = {module: vars(module)[FUNCTION] for module in modules if FUNCTION in vars(module)}
    yield
    for module, function in own.items():
        setattr(module, FUNCTION, function)


@pytest.fixture(params=["CPU", "GPU"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotate by the kernels for a CPU, then by those for a GPU."""
    if request.param == "GPU":
        monkeypatch.setattr(rotary, "_roll", rotary._rotate)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("family", "functions"), [("llama", 1), ("qwen3", 1), ("mistral", 1), ("gemma2", 1), ("gpt2", 0)]
)
def test_loss_and_gradients_are_the_models_own(family: str, functions: int, dtype: torch.dtype) -> None:
    rows = rows_of(31, 5, 64, 12)
    model = adapted(FAMILIES[family], TARGETS.get(family, "all-linear"), dtype)
    results = []
    for fused in (0, functions):
        assert not fused or replace_operation(rotary_sites, model, dtype) == fused
        with autocast(CPU, dtype):
            nll = plain_nll(model, rows)
        results.append((nll, gradients_of(model, nll)))
    (theirs, gradients), (ours, our_gradients) = results
    rounding = 1e-6 if dtype == torch.float32 else 0.02
    assert ours.item() == pytest.approx(theirs.item(), rel=rounding)
    assert relative_error(our_gradients, gradients) < 5 * rounding


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("heads_at", [1, 2])
def test_gradients_are_those_of_the_formula(heads_at: int, transposed: bool) -> None:
    """For arbitrary cosines and sines, heads before or behind the tokens, and both orders in memory."""
    generator = torch.Generator().manual_seed(0)
    replace_operation(rotary_sites, AutoModelForCausalLM.from_config(FAMILIES["llama"]))
    shape = (2, 3, 5, 8) if heads_at == 1 else (2, 5, 3, 8)
    query, key = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    if transposed:
        query, key = (one.transpose(1, 2).contiguous().transpose(1, 2) for one in (query, key))
    query, key = query.requires_grad_(), key.requires_grad_()
    cos, sin = torch.randn(2, 2, 5, 8, generator=generator, dtype=torch.float64)
    results = []
    for rotate in (ORIGINAL, modeling_llama.apply_rotary_pos_emb):
        rotated = rotate(query, key, cos, sin, unsqueeze_dim=heads_at)
        weights = [torch.linspace(-1, 1, one.numel(), dtype=torch.float64).view(one.shape) for one in rotated]
        total = sum((one * weight).sum() for one, weight in zip(rotated, weights, strict=True))
        results.append([*rotated, *torch.autograd.grad(total, (query, key))])
    assert modeling_llama.apply_rotary_pos_emb is not ORIGINAL
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_on_a_cpu_are_equal_bit_for_bit(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    replace_operation(rotary_sites, AutoModelForCausalLM.from_config(FAMILIES["llama"]))
    query, key = (torch.randn(1, 7, heads, 8, generator=generator).to(dtype).transpose(1, 2) for heads in (4, 2))
    angles = torch.randn(1, 7, 4, generator=generator).repeat(1, 1, 2)
    arguments = (query, key, angles.cos().to(dtype), angles.sin().to(dtype))
    for theirs, ours in zip(ORIGINAL(*arguments), modeling_llama.apply_rotary_pos_emb(*arguments), strict=True):
        assert torch.equal(ours, theirs)


def test_functions_are_replaced_once_for_several_models() -> None:
    model = AutoModelForCausalLM.from_config(FAMILIES["llama"])
    assert replace_operation(rotary_sites, model) == 1
    assert replace_operation(rotary_sites, model) == 1
    replaced: Any = modeling_llama.apply_rotary_pos_emb
    assert replaced.args == (ORIGINAL,)


def test_model_that_rotates_neighbouring_dimensions_is_left_alone() -> None:
    model = AutoModelForCausalLM.from_config(CohereConfig(**SMALL))
    modeling: ModuleType = sys.modules[type(model).__module__]
    own = modeling.apply_rotary_pos_emb
    assert replace_operation(rotary_sites, model) == 0 and modeling.apply_rotary_pos_emb is own


def test_call_with_more_arguments_goes_to_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Any] = []

    def with_positions(
        query: Any, key: Any, cos: Any, sin: Any, position_ids: Any = None, unsqueeze_dim: int = 1
    ) -> Any:
        received.append(position_ids)
        return ORIGINAL(query, key, cos, sin, unsqueeze_dim=unsqueeze_dim)

    monkeypatch.setattr(modeling_llama, FUNCTION, with_positions)
    assert replace_operation(rotary_sites, AutoModelForCausalLM.from_config(FAMILIES["llama"])) == 1
    query = torch.randn(1, 1, 2, 4)
    modeling_llama.apply_rotary_pos_emb(query, query, torch.ones(1, 2, 4), torch.zeros(1, 2, 4), "positions")
    assert received[-1] == "positions"

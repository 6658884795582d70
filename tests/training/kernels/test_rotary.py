"""Rotating in fewer kernels: the model's own numbers and gradients, or none of it."""

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
from engine.training.kernels.rotary import NAME, fuse_rotary
from tests.support.passes import (
    CPU,
    FAMILIES,
    SMALL,
    TARGETS,
    adapted,
    gradients_of,
    plain_nll,
    relative_error,
    rows_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

written_out = modeling_llama.apply_rotary_pos_emb


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """Transformers' own functions afterwards."""
    modules = [module for name, module in sys.modules.items() if name.startswith("transformers.models.")]
    own = {module: vars(module)[NAME] for module in modules if NAME in vars(module)}
    yield
    for module, function in own.items():
        setattr(module, NAME, function)


@pytest.fixture(params=["CPU", "GPU"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU, and as on a GPU."""
    if request.param == "GPU":
        monkeypatch.setattr(rotary, "_roll", rotary._rotate)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("family", "functions"), [("llama", 1), ("qwen3", 1), ("mistral", 1), ("gemma2", 1), ("gpt2", 0)]
)
def test_rotating_in_fewer_kernels_gives_the_models_own_numbers(
    family: str, functions: int, dtype: torch.dtype
) -> None:
    rows = rows_of(31, 5, 64, 12)
    model = adapted(FAMILIES[family], TARGETS.get(family, "all-linear"), dtype)
    found = []
    for fused in (0, functions):
        assert not fused or fuse_rotary(model) == fused
        with autocast(CPU, dtype):
            nll = plain_nll(model, rows)
        found.append((nll, gradients_of(model, nll)))
    (theirs, gradients), (ours, our_gradients) = found
    rounding = 1e-6 if dtype == torch.float32 else 0.02
    assert ours.item() == pytest.approx(theirs.item(), rel=rounding)
    assert relative_error(our_gradients, gradients) < 5 * rounding


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("heads_at", [1, 2])
def test_gradients_are_those_of_the_formula(heads_at: int, exchanged: bool) -> None:
    """With angles of all kinds, heads before or behind the tokens, and either behind the other in memory."""
    generator = torch.Generator().manual_seed(0)
    fuse_rotary(AutoModelForCausalLM.from_config(FAMILIES["llama"]))
    shape = (2, 3, 5, 8) if heads_at == 1 else (2, 5, 3, 8)
    query, key = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    if exchanged:
        query, key = (one.transpose(1, 2).contiguous().transpose(1, 2) for one in (query, key))
    query, key = query.requires_grad_(), key.requires_grad_()
    cos, sin = torch.randn(2, 2, 5, 8, generator=generator, dtype=torch.float64)
    results = []
    for rotate in (written_out, modeling_llama.apply_rotary_pos_emb):
        rotated = rotate(query, key, cos, sin, unsqueeze_dim=heads_at)
        weights = [torch.linspace(-1, 1, one.numel(), dtype=torch.float64).view(one.shape) for one in rotated]
        total = sum((one * weight).sum() for one, weight in zip(rotated, weights, strict=True))
        results.append([*rotated, *torch.autograd.grad(total, (query, key))])
    assert modeling_llama.apply_rotary_pos_emb is not written_out
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_bit_is_another_on_a_cpu(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    fuse_rotary(AutoModelForCausalLM.from_config(FAMILIES["llama"]))
    query, key = (torch.randn(1, 7, heads, 8, generator=generator).to(dtype).transpose(1, 2) for heads in (4, 2))
    angles = torch.randn(1, 7, 4, generator=generator).repeat(1, 1, 2)
    given = (query, key, angles.cos().to(dtype), angles.sin().to(dtype))
    for theirs, ours in zip(written_out(*given), modeling_llama.apply_rotary_pos_emb(*given), strict=True):
        assert torch.equal(ours, theirs)


def test_second_model_finds_the_functions_changed_already() -> None:
    model = AutoModelForCausalLM.from_config(FAMILIES["llama"])
    assert fuse_rotary(model) == 1
    changed = modeling_llama.apply_rotary_pos_emb
    assert fuse_rotary(model) == 1 and modeling_llama.apply_rotary_pos_emb is changed


def test_model_that_turns_neighbouring_dimensions_is_left_alone() -> None:
    model = AutoModelForCausalLM.from_config(CohereConfig(**SMALL))
    modeling: ModuleType = sys.modules[type(model).__module__]
    own = modeling.apply_rotary_pos_emb
    assert fuse_rotary(model) == 0 and modeling.apply_rotary_pos_emb is own


def test_function_that_wants_more_is_called_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def wanting(query: Any, key: Any, cos: Any, sin: Any, position_ids: Any = None, unsqueeze_dim: int = 1) -> Any:
        seen.append(position_ids)
        return written_out(query, key, cos, sin, unsqueeze_dim=unsqueeze_dim)

    monkeypatch.setattr(modeling_llama, NAME, wanting)
    assert fuse_rotary(AutoModelForCausalLM.from_config(FAMILIES["llama"])) == 1
    query = torch.randn(1, 1, 2, 4)
    modeling_llama.apply_rotary_pos_emb(query, query, torch.ones(1, 2, 4), torch.zeros(1, 2, 4), "positions")
    assert seen[-1] == "positions"

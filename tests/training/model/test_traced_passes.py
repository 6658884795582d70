"""Traced passes against what torch allocates in the engine's own passes with numbers."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.planning.activations import activations_of
from engine.spec.schema import Spec
from engine.training.model import memory_budget
from engine.training.model.adapter import add_adapter, recompute_activations
from engine.training.model.forward import choose_forward
from engine.training.model.loading import load_base_model, load_config
from engine.training.model.operations import random_row
from engine.training.model.traced_passes import PassTracer
from tests.support.families import write_sized
from tests.support.rounds import make_spec

TOKENS = 256
FAMILIES = (
    "gemma", "gemma2", "gemma3-text", "gpt2", "gpt-neox", "llama", "llama-tied", "mistral", "mixtral", "phi3", "qwen2",
    "qwen3", "qwen3-moe",
)  # fmt: skip


def spec_of(directory: Path, **settings: Any) -> Spec:
    own: dict[str, Any] = {
        "model__path": str(directory), "data__max_length": TOKENS, "lora__r": 8, "lora__lora_dropout": 0.0,
        "lora__target_modules": "all-linear",
    }  # fmt: skip
    return make_spec(**own | settings)


def allocated(spec: Spec, dtype: torch.dtype, rows: int = 1, *, recompute: bool = False) -> int:
    """The most bytes that torch allocates at once in a pass, by its own record of each allocation."""
    device, config = torch.device("cpu"), load_config(spec)
    model = add_adapter(load_base_model(spec, config, dtype, device), spec)
    forward = choose_forward(model, device, dtype, TOKENS)
    recompute_activations(model, recompute)
    gc.collect()  # or what earlier tests leave behind is freed while memory is measured
    measured = memory_budget._try(forward, [random_row(model, TOKENS, 0)] * rows)
    assert measured is not None
    return measured


def traced(spec: Spec, dtype: torch.dtype, rows: int = 1, *, recompute: bool = False) -> int:
    return PassTracer(spec, load_config(spec), dtype, TOKENS).peak_bytes(rows * TOKENS, recompute=recompute)


# Of peft: adapters of experts are wrapped one in the other, and GPT-2's layers are transposed.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:fan_in_fan_out:UserWarning")
@pytest.mark.sample(8)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_trace_is_what_torch_allocates(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    spec = spec_of(write_sized(name, tmp_path))
    assert traced(spec, dtype) == pytest.approx(allocated(spec, dtype), rel=0.05)


@pytest.mark.parametrize(
    "settings", [{"lora__use_dora": True}, {"lora__target_modules": ("q_proj", "v_proj")}], ids=["DoRA", "attention"]
)
def test_trace_follows_the_adapter(tmp_path: Path, settings: dict[str, Any]) -> None:
    spec = spec_of(write_sized("llama", tmp_path), **settings)
    assert traced(spec, torch.float32) == pytest.approx(allocated(spec, torch.float32), rel=0.05)


@pytest.mark.parametrize("rows", [1, 3])
def test_trace_follows_recomputation_and_rows(tmp_path: Path, rows: int) -> None:
    spec = spec_of(write_sized("qwen3", tmp_path))
    expected = allocated(spec, torch.float32, rows, recompute=True)
    assert traced(spec, torch.float32, rows, recompute=True) == pytest.approx(expected, rel=0.05)


def test_family_that_arithmetic_does_not_know_is_traced(tmp_path: Path) -> None:
    spec = spec_of(write_sized("olmo2", tmp_path))
    assert activations_of(tmp_path, spec.lora) is None
    assert traced(spec, torch.float32) == pytest.approx(allocated(spec, torch.float32), rel=0.05)


def test_trace_reads_no_weights(tmp_path: Path) -> None:
    spec = spec_of(write_sized("llama", tmp_path))
    before = traced(spec, torch.float32)
    for weights in tmp_path.glob("*.safetensors"):
        weights.unlink()
    assert traced(spec, torch.float32) == before


def test_mask_of_dropout_counts(tmp_path: Path) -> None:
    """On a processor each adapter holds a mask of its input for backward, 2 bytes a number: here four."""
    directory = write_sized("llama", tmp_path)
    without, with_mask = (
        traced(spec_of(directory, lora__target_modules=("q_proj",), lora__lora_dropout=dropout), torch.float32)
        for dropout in (0.0, 0.1)
    )
    assert with_mask - without == pytest.approx(2 * TOKENS * 256 * 4, rel=0.25)

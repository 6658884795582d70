"""The size of an adapter, counted from the weights alone, is the one that it has on the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from engine.preflight.adapter_size import adapter_size
from engine.preflight.target_modules import USUAL
from engine.training.model.adapter import add_adapter, trainable_parameters
from engine.training.model.targets import unadapted
from tests.support.families import FAMILIES, _config_of
from tests.support.rounds import make_spec

KINDS = {settings["model_type"]: name for name, settings in reversed(FAMILIES.items())}
ADAPTERS: list[dict[str, Any]] = [
    {"target_modules": "all-linear"},
    {"target_modules": "all-linear", "use_dora": True, "exclude_modules": r".*\.1\..*"},
    {"target_modules": "all-linear", "bias": "lora_only", "trainable_token_indices": (1, 5)},
]
LLAMA: list[dict[str, Any]] = [
    {"target_modules": ("embed_tokens", "v_proj", "lm_head"), "use_dora": True},
    {"target_modules": r".*(q|k)_proj", "bias": "all", "modules_to_save": ("norm", "lm_head")},
    {
        "target_modules": ("q_proj",),
        "modules_to_save": ("embed_tokens", "layers.0.mlp"),
        "exclude_modules": ("k_proj",),
    },
]


def base_of(name: str, directory: Path) -> Any:
    """Write the shapes of a family's weights, and return the model without weights."""
    config = _config_of(**FAMILIES[name])
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    tied = {id(model.get_input_embeddings().weight)} if config.tie_word_embeddings else set()
    state = {
        key: torch.empty(tensor.shape)
        for key, tensor in model.state_dict().items()
        if not (tied and key == "lm_head.weight")
    }
    save_file(state, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config.to_dict(), default=str))
    return model


def assert_counted(name: str, directory: Path, adapter: dict[str, Any]) -> None:
    model = base_of(name, directory)
    spec = make_spec(lora__r=4, **{f"lora__{key}": value for key, value in adapter.items()})
    size = adapter_size(directory, spec.lora)
    with torch.device("meta"):
        adapted = add_adapter(model, spec, adapter.get("trainable_token_indices", ()))
    assert size is not None
    assert size.parameters == sum(parameter.numel() for parameter in trainable_parameters(adapted))
    assert size.share == pytest.approx(1 - unadapted(adapted)[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
@pytest.mark.parametrize("kind", sorted(USUAL.keys() & KINDS.keys()))
def test_size_is_that_of_the_adapter_on_each_family(kind: str, adapter: dict[str, Any], tmp_path: Path) -> None:
    assert_counted(KINDS[kind], tmp_path, adapter)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("adapter", LLAMA, ids=str)
@pytest.mark.parametrize("name", ["llama", "llama-tied"])
def test_size_is_that_of_the_adapter_on_embeddings_and_whole_modules(
    name: str, adapter: dict[str, Any], tmp_path: Path
) -> None:
    assert_counted(name, tmp_path, adapter)

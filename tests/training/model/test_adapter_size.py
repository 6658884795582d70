"""The size of an adapter, counted from the weights alone, is the one that it has on the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from engine.preflight.adapter_size import adapter_size
from engine.preflight.base_model import tensor_shapes
from engine.preflight.base_weights import base_weights
from engine.preflight.families import KNOWN, names_in_experts
from engine.preflight.target_modules import model_modules
from engine.training.model.adapter import add_adapter, trainable_parameters
from engine.training.model.loading import auto_class, load_base_model, load_config
from engine.training.model.targets import _layers, beside_the_text, check_targets, unadapted
from tests.support.families import FAMILIES, write_family
from tests.support.rounds import make_spec, write_safetensors

pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = [name for name, settings in FAMILIES.items() if settings["model_type"] in KNOWN]
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
EXPERTS = ("experts.gate_up_proj", "experts.down_proj")
SPARSE: list[tuple[str, dict[str, Any]]] = [
    ("mixtral", {"target_modules": ("w1", "w2", "w3", "gate", "q_proj")}),
    ("deepseek-v3", {"target_modules": ("gate_proj", "up_proj", "down_proj"), "exclude_modules": ("0.mlp.gate_proj",)}),
    ("glm4-moe", {"target_modules": r".*\.shared_experts\.(gate|up)_proj"}),
    ("qwen3-moe", {"target_modules": ("q_proj",), "target_parameters": EXPERTS}),
    ("gpt-oss", {"target_modules": ("q_proj",), "target_parameters": EXPERTS}),
    ("granitemoehybrid", {"target_modules": "all-linear", "target_parameters": EXPERTS}),
    ("gemma3", {"target_modules": ("q_proj", "fc1"), "bias": "lora_only"}),
    ("llama4", {"target_modules": ("q_proj", "v_proj")}),
]


def model_of(directory: Path) -> Any:
    """Return the model in a directory without its weights."""
    config = AutoConfig.from_pretrained(directory)
    with torch.device("meta"):
        return auto_class(config).from_config(config)


def assert_counted(directory: Path, adapter: dict[str, Any]) -> None:
    spec = make_spec(lora__r=4, lora__lora_dropout=0.0, **{f"lora__{key}": value for key, value in adapter.items()})
    size = adapter_size(directory, spec.lora)
    with torch.device("meta"):
        adapted = add_adapter(model_of(directory), spec, adapter.get("trainable_token_indices", ()))
    assert size is not None
    assert size.parameters == sum(parameter.numel() for parameter in trainable_parameters(adapted))
    assert size.share == pytest.approx(1 - unadapted(adapted)[0])


@pytest.mark.sample(12)
@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_size_is_that_of_the_adapter_on_each_family(name: str, adapter: dict[str, Any], tmp_path: Path) -> None:
    if names_in_experts(FAMILIES[name]["model_type"]):  # which cannot have DoRA
        adapter = adapter | {"use_dora": False}
    assert_counted(write_family(name, tmp_path), adapter)


@pytest.mark.parametrize("adapter", LLAMA, ids=str)
@pytest.mark.parametrize("name", ["llama", "llama-tied"])
def test_size_is_that_of_the_adapter_on_embeddings_and_whole_modules(
    name: str, adapter: dict[str, Any], tmp_path: Path
) -> None:
    assert_counted(write_family(name, tmp_path), adapter)


@pytest.mark.parametrize(("name", "adapter"), SPARSE, ids=str)
def test_size_is_that_of_the_adapter_on_experts_and_beside_what_sees(
    name: str, adapter: dict[str, Any], tmp_path: Path
) -> None:
    assert_counted(write_family(name, tmp_path), adapter)


@pytest.mark.parametrize("bits", [4, 8])
def test_size_is_that_of_the_adapter_on_a_quantised_model_with_experts(bits: int, tmp_path: Path) -> None:
    directory = write_family("deepseek-v3", tmp_path)
    spec = make_spec(
        model__path=str(directory),
        data__max_length=64,
        lora__lora_dropout=0.0,
        lora__target_modules="all-linear",
        **{f"model__load_in_{bits}bit": True},
    )
    size = adapter_size(directory, spec.lora, quantised=True)
    base = load_base_model(spec, load_config(spec), torch.float32, torch.device("cpu"))
    adapted = add_adapter(base, spec)
    assert size is not None
    assert size.parameters == sum(parameter.numel() for parameter in trainable_parameters(adapted))
    assert size.share == pytest.approx(1 - unadapted(adapted)[0])


@pytest.mark.sample(10)
@pytest.mark.parametrize("name", NAMES)
def test_layers_and_experts_are_those_of_the_model_in_transformers(name: str, tmp_path: Path) -> None:
    """So are the names that a form offers, each of which can get an adapter."""
    directory = write_family(name, tmp_path)
    weights, model = base_weights(directory), model_of(directory)
    assert set(weights.layers) == set(_layers(model)) - set(beside_the_text(model) or ())
    stacked = {each for each, parameter in model.named_parameters() if parameter.ndim == 3 and ".experts." in each}
    ends = [sorted(each.split(".")[-2:] for each in names) for names in (weights.experts, stacked)]
    assert ends[0] == ends[1]
    offered = model_modules(str(directory))
    names = (*offered.all_linear, *offered.others)
    check_targets(names, model)
    spec = make_spec(
        lora__target_modules=names, lora__target_parameters=tuple(offered.parameters), lora__lora_dropout=0.0
    )
    with torch.device("meta"):
        paths = {each.split(".lora_")[0] for each, _ in add_adapter(model, spec).named_parameters() if ".lora_" in each}
    adapted = {part for path in paths for part in path.split(".")}
    assert {path.rpartition(".")[2] for path in weights.linear} - {"out_proj"} <= adapted
    assert ("experts" in adapted) == bool(stacked)


def test_layers_that_predict_further_tokens_are_not_counted(tmp_path: Path) -> None:
    """Checkpoints of DeepSeek-V3, GLM-4.5 and others hold more layers than the config says, which are not loaded."""
    directory = write_family("deepseek-v3", tmp_path)
    whole = base_weights(directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    loaded = base_weights(directory).layers
    assert {path for path in whole.layers if ".layers.2." not in path} == set(loaded) < set(whole.layers)
    further = {"mtp.layers.0.mlp.fc.weight": [4, 4], "model.mtp_block.0.fc.weight": [4, 4]}
    write_safetensors(directory / "further.safetensors", further)
    assert base_weights(directory).layers == loaded


def test_experts_stored_in_4_bits_have_the_names_that_they_have_once_loaded(tmp_path: Path) -> None:
    """GPT-OSS is released so (MXFP4): two values in a byte, and scales beside them."""
    directory = write_family("gpt-oss", tmp_path)
    loaded, shapes = base_weights(directory), tensor_shapes(directory)
    stored: dict[str, list[int]] = {}
    for name, shape in shapes.items():
        if name not in loaded.experts:
            stored[name] = list(shape)
            continue
        experts, columns, rows = shape  # of which the stored ones are the transpose
        stored |= {
            f"{name}_blocks": [experts, rows, columns // 32, 16],
            f"{name}_scales": [experts, rows, columns // 32],
        }
    write_safetensors(directory / "model.safetensors", stored)
    assert base_weights(directory).experts == loaded.experts
    assert model_modules(str(directory)).parameters == {"experts.down_proj": 2, "experts.gate_up_proj": 2}

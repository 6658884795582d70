"""Name the modules of a base model that can take an adapter, without torch and without the network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from engine.errors import ModelError, SpecError
from engine.preflight.base_model import (
    ALSO_TARGETS,
    find_model_dir,
    module_counts,
    module_paths,
    read_config,
    tensor_shapes,
)
from engine.preflight.regular_expression import full_matches
from engine.spec.fields import format_value
from engine.spec.lora import LoraSpec

LLAMA_LIKE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NEOX_LIKE = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
# As transformers names the linear layers of an architecture (its modeling_*.py), by config.json's model_type.
USUAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite", "olmo", "olmo2", "smollm3"),
        LLAMA_LIKE,
    ),
    **dict.fromkeys(("gpt_neox", "falcon", "bloom"), NEOX_LIKE),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    "phi": ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    "stablelm": LLAMA_LIKE,
    "mpt": ("Wqkv", "out_proj", "up_proj", "down_proj"),
}

BASE_PREFIXES = ("model.", "transformer.", "gpt_neox.", "backbone.")  # base_model_prefix in transformers

# Families, by config.json's model_type, in whose experts peft's `all-linear` puts adapters too, knowing the weights
# (peft.utils.transformers_weight_conversion).
ADAPTED_EXPERTS = frozenset({
    "afmoe", "beam", "cohere2_moe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5_moe", "exaone_moe",
    "flex_olmo", "glm4_moe", "glm4_moe_lite", "glm4v_moe", "glm_moe_dsa", "hunyuan_v1_moe", "longcat_flash", "mellum",
    "minimax", "minimax_m2", "mixtral", "olmoe", "qwen3_moe", "qwen3_next", "sarvam_mla", "solar_open",
})  # fmt: skip


def check_target_parameters(lora: LoraSpec) -> None:
    """Raise SpecError if `lora.target_parameters` is to have what peft cannot give the adapter of a parameter."""
    options = (
        ("lora_dropout", lora.lora_dropout, 0.0),
        ("use_dora", lora.use_dora, False),
        ("init_lora_weights", lora.init_lora_weights, "true"),
    )
    for name, value, only in options:
        allowed = value == only or (name == "init_lora_weights" and value == "gaussian")
        if lora.target_parameters and not allowed:
            raise SpecError(
                f"lora.{name} is {format_value(value)}, but a parameter of lora.target_parameters can only get an "
                f"adapter with {format_value(only)}: set it to that, or leave lora.target_parameters empty",
                f"lora.{name}",
            )


def check_experts(lora: LoraSpec, config: Mapping[str, object]) -> None:
    """Raise SpecError if `all-linear` would put adapters with dropout into experts, which peft cannot do."""
    if lora.target_modules == "all-linear" and lora.lora_dropout and config.get("model_type") in ADAPTED_EXPERTS:
        raise no_dropout_in_experts(lora)


def no_dropout_in_experts(lora: LoraSpec) -> SpecError:
    """Return the sentence on a dropout that the adapters of experts cannot have."""
    return SpecError(
        f"lora.lora_dropout is {lora.lora_dropout:g}, but the experts of this model can only get an adapter without "
        f"dropout: set it to 0, or name other modules in lora.target_modules",
        "lora.lora_dropout",
    )


def check_expression(pattern: str, layers: Sequence[str], others: Sequence[str]) -> None:
    """Check a regular expression of `lora.target_modules` against the paths of a model's modules.

    `layers` are those that can get an adapter, `others` the rest.

    Raises:
        SpecError: it matches none of `layers`, or also one of `others`, or it is not a regular expression.
    """
    key = "lora.target_modules"
    paths = full_matches(key, pattern, [*others, *layers])
    names = ", ".join(sorted({path.rpartition(".")[2] for path in layers}))
    if not paths:
        example = next((path for path in layers if ".0." in path), layers[0])
        raise SpecError(
            f"{key} is {pattern!r}, a regular expression that matches no module of this model: it has to match "
            f"a whole path, such as {example}, of one of {names}",
            key,
        )
    if paths[0] in others:
        raise SpecError(
            f"{key} is {pattern!r}, a regular expression that also matches {paths[0]}, which cannot get an adapter: "
            f"write it so that it matches only the whole paths of {names}",
            key,
        )


def check_expression_in(directory: Path, lora: LoraSpec) -> None:
    """Do the same for a local model, as far as the names in its weights tell those of the loaded model.

    A checkpoint without an output head lacks the first part of these names, and one with a vision part may name them
    otherwise; of the latter only the expression itself is checked.
    """
    pattern = lora.target_modules
    if isinstance(pattern, tuple) or pattern == "all-linear":
        return
    paths = [*module_paths(directory), "lm_head"]  # whose weights may be those of the embedding
    has_prefix = any(path.startswith(BASE_PREFIXES) for path in paths)
    layers = [prefix + path for prefix in ("", *(() if has_prefix else BASE_PREFIXES)) for path in paths]
    parents = dict.fromkeys(
        ".".join(parts[:end]) for path in layers for parts in [path.split(".")] for end in range(1, len(parts))
    )
    if "text_config" in read_config(directory):
        full_matches("lora.target_modules", pattern, layers)
    else:
        check_expression(pattern, layers, list(parents))


def lacks(key: str, name: str, kind: Literal["layer", "module", "parameter"], paths: Iterable[str]) -> SpecError:
    """Return the sentence on a `name` in the field `key` that none of the `paths` of a model ends with."""
    names = sorted({part for path in paths if not (part := path.rpartition(".")[2]).isdigit()})
    return SpecError(f"{key} has {name!r}, which is no {kind} of this model: it has {', '.join(names)}", key)


def check_names_in(directory: Path, lora: LoraSpec) -> None:
    """Raise SpecError if a local model lacks a module of `lora.exclude_modules` or `lora.modules_to_save`.

    Only of a family whose weights are known to be named as its modules are.
    """
    if read_config(directory).get("model_type") not in USUAL:
        return
    layers = {*module_paths(directory), *ALSO_TARGETS}
    for name in lora.exclude_modules if isinstance(lora.exclude_modules, tuple) else ():
        if not any(f".{path}".endswith(f".{name}") for path in layers):
            raise lacks("lora.exclude_modules", name, "layer", layers)
    owners = (name.rpartition(".")[0].split(".") for name in tensor_shapes(directory))
    modules = {".".join(parts[:end]) for parts in owners for end in range(1, len(parts) + 1)} | ALSO_TARGETS
    for name in lora.modules_to_save or ():
        if not any(path.endswith(name) for path in modules):
            raise lacks("lora.modules_to_save", name, "module", modules)


class ModelModules(Struct, frozen=True):
    """Names of modules and the count of each, None where only the architecture is known.

    `all_linear` are the modules that peft's `all-linear` takes, `others` those that must be named one by one.
    """

    all_linear: dict[str, int | None]
    others: dict[str, int | None]


def model_modules(path: str, environment: Mapping[str, str] = os.environ, revision: str | None = None) -> ModelModules:
    """Return the modules of the model that a spec names, from its weights or else from its architecture.

    Raises:
        ModelError: the model is not on this machine, or its architecture is unknown here.
    """
    directory = find_model_dir(path, environment, revision)
    if directory is None:
        raise ModelError(f"model.path is {path!r}, which is not on this machine yet: type the names of the modules")
    counts = module_counts(directory)
    if not counts:
        return ModelModules(dict.fromkeys(_usual(directory, path)), dict.fromkeys(sorted(ALSO_TARGETS)))
    others = {name: count for name, count in counts.items() if "embed" in name or name == "lm_head"}
    return ModelModules(
        {name: count for name, count in counts.items() if name not in others},
        {name: count for name, count in others.items() if name in ALSO_TARGETS},
    )


def _usual(directory: Path, path: str) -> tuple[str, ...]:
    try:
        config = read_config(directory)
    except ModelError as error:
        raise ModelError(f"model.path is {path!r}: its config.json cannot be read: type the module names") from error
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in USUAL:
        raise ModelError(f"model.path is {path!r}, a {kind}, whose modules are unknown here: type their names")
    return USUAL[kind]

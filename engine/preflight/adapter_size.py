"""Count what an adapter trains, from the shapes in a model's weights."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path

from msgspec import Struct

from engine.preflight.base_model import read_config
from engine.preflight.base_weights import BaseWeights, Shapes, base_weights
from engine.preflight.families import (
    BASE_PREFIXES,
    KNOWN,
    MAMBA_FAMILIES,
    MAMBA_MODULES,
    ROUTER,
    family_of,
    names_in_experts,
)
from engine.preflight.regular_expression import full_matches
from engine.spec.lora import LoraSpec

TRANSPOSED = frozenset({"gpt2"})  # whose layers hold their weights as [in, out]


class AdapterSize(Struct, frozen=True):
    """The number of parameters that are trained, and the share of the base that they change.

    `share` is that of all matrices but those of embeddings and output head.
    """

    parameters: int
    share: float


def adapter_size(directory: Path, lora: LoraSpec, quantised: bool = False) -> AdapterSize | None:
    """Return the size of the adapter of a local model, None for a family whose weights may be named otherwise here.

    The counts are those of peft: r · (in + out) for a matrix, also of each expert, and all of a module that is trained
    in full. Weights that are stored quantised do not tell their shapes. Of a model that is `quantised` as it is loaded,
    dense layers that are named as experts are have no adapter.
    """
    config = read_config(directory)
    family = family_of(config)
    if family not in KNOWN or "quantization_config" in config:
        return None
    weights = base_weights(directory)
    shapes = weights.shapes
    saved = _saved(shapes, lora)
    confused = names_in_experts(family) if quantised else ()
    adapted = [
        path
        for path in adapted_layers(weights, family, lora)
        if f"{path}.weight" not in saved and path.rpartition(".")[2] not in confused
    ]
    ranks = adapted_parameters(weights, family, lora)
    matrices = weights.matrices
    changed = {*saved, *ranks, *(f"{path}.weight" for path in adapted)}
    width = next((shape[1] for path, shape in weights.layers.items() if path not in weights.linear), 0)
    parameters = (
        sum(lora.r * sum(weights.layers[path]) for path in adapted)
        + sum(rank * prod(shapes[name][:-2]) * sum(shapes[name][-2:]) for name, rank in ranks.items())
        + sum(prod(shapes[name]) for name in {*saved, *_biases(weights, lora, adapted)})
        + (sum(_magnitudes(path, weights, family) for path in adapted) if lora.use_dora else 0)
        + width * len(lora.trainable_token_indices or ())
    )
    share = sum(size for name, size in matrices.items() if name in changed) / max(sum(matrices.values()), 1)
    return AdapterSize(parameters, share)


def _saved(shapes: Shapes, lora: LoraSpec) -> set[str]:
    """Return the names of the weights of modules that are trained in full."""
    if not lora.modules_to_save:
        return set()
    parts = [name.split(".")[:-1] for name in shapes]
    modules = {".".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}
    in_full = {path for path in modules if path.endswith(lora.modules_to_save)}
    return {name for name in shapes if any(f"{name}.".startswith(f"{path}.") for path in in_full)}


def _biases(weights: BaseWeights, lora: LoraSpec, adapted: Iterable[str]) -> set[str]:
    """Return the names of the biases that are trained."""
    if lora.bias == "none":
        return set()
    biases = {name for name in weights.shapes if name.endswith(".bias")}
    return biases if lora.bias == "all" else biases & {f"{path}.bias" for path in adapted}


def adapted_layers(weights: BaseWeights, family: str, lora: LoraSpec) -> list[str]:
    """Return the paths of the layers that get an adapter."""
    if lora.target_modules == "all-linear":
        beside = MAMBA_MODULES if family in MAMBA_FAMILIES else ()
        chosen = {path for path in weights.linear if not path.endswith(beside)}
    else:
        chosen = _matching("lora.target_modules", lora.target_modules, weights.layers)
    excluded = _matching("lora.exclude_modules", lora.exclude_modules or (), weights.layers)
    return [path for path in weights.layers if path in chosen and path not in excluded]


def _matching(key: str, names: tuple[str, ...] | str, layers: Shapes) -> set[str]:
    """Return the layers that the value of a field means."""
    if isinstance(names, tuple):
        return {path for path in layers if any(f".{path}".endswith(f".{name}") for name in names)}
    # A checkpoint without an output head lacks the first part of the names.
    spelt = {prefix + path: path for prefix in BASE_PREFIXES for path in layers} | {path: path for path in layers}
    return {spelt[each] for each in full_matches(key, names, list(spelt))}


def adapted_parameters(weights: BaseWeights, family: str, lora: LoraSpec) -> dict[str, int]:
    """Return the rank of the adapter of each parameter that gets one by itself: those of experts, and those named."""
    targets = lora.target_modules
    in_experts = names_in_experts(family)
    named = {name.rpartition(".")[2] for name in targets} if isinstance(targets, tuple) else set()
    if targets == "all-linear":
        named = set(in_experts)
    fused, last = set(in_experts[:2]), set(in_experts[2:])
    ends = [*(lora.target_parameters or ()), *(["gate_up_proj"] if fused and fused <= named else [])]
    ends += ["down_proj"] if last & named else []
    ends += [f"{ROUTER}.weight"] if in_experts and ROUTER in named else []
    chosen = (name for name in weights.shapes if any(f".{name}".endswith(f".{end}") for end in ends))
    # peft gives two matrices that were fused the rank of two.
    both = fused and fused <= named
    return {name: lora.r * (2 if both and name.endswith(".gate_up_proj") else 1) for name in chosen}


def _magnitudes(path: str, weights: BaseWeights, family: str) -> int:
    """Return the number of lengths that DoRA trains in a layer."""
    shape = weights.layers[path]
    is_transposed = family in TRANSPOSED if path in weights.linear else not path.endswith("lm_head")
    return shape[1] if is_transposed else shape[0]

"""Count what an adapter trains, from the shapes in a model's weights."""

from __future__ import annotations

from math import prod
from pathlib import Path

from msgspec import Struct

from engine.preflight.base_model import read_config, tensor_shapes
from engine.preflight.regular_expression import full_matches
from engine.preflight.target_modules import BASE_PREFIXES, USUAL
from engine.spec.lora import LoraSpec

NO_LINEAR = ("embed", "lm_head", "wte", "wpe")  # parts of the names of embeddings and output heads
TRANSPOSED = frozenset({"gpt2"})  # whose layers hold their weights as [in, out]

Shapes = dict[str, tuple[int, ...]]


class AdapterSize(Struct, frozen=True):
    """The number of parameters that are trained, and the share of the base that they change.

    `share` is that of the weights of all layers but embeddings and output head.
    """

    parameters: int
    share: float


def adapter_size(directory: Path, lora: LoraSpec) -> AdapterSize | None:
    """Return the size of the adapter of a local model, None for a family whose weights may be named otherwise here.

    The counts are those of peft: r · (in + out) for a layer, and all of a module that is trained in full.
    """
    kind = read_config(directory).get("model_type")
    shapes = _with_head(tensor_shapes(directory))
    if kind not in USUAL or lora.target_parameters or any(len(shape) > 2 for shape in shapes.values()):
        return None
    layers = _layers(shapes)
    in_full = {path for path in _modules(shapes) if path.endswith(lora.modules_to_save or ())}
    saved = {name for name in shapes if any(f"{name}.".startswith(f"{path}.") for path in in_full)}
    adapted = [path for path in _adapted(layers, lora) if f"{path}.weight" not in saved]
    linear = {path: prod(shape) for path, shape in layers.items() if _is_linear(path)}
    changed = sum(count for path, count in linear.items() if path in adapted or f"{path}.weight" in saved)
    biases = [name for name in shapes if name.endswith(".bias") and name not in saved]
    if lora.bias == "lora_only":
        biases = [name for name in biases if name.removesuffix(".bias") in adapted]
    width = next((shape[1] for path, shape in layers.items() if not _is_linear(path)), 0)
    parameters = (
        sum(lora.r * sum(layers[path]) for path in adapted)
        + sum(prod(shapes[name]) for name in saved)
        + (sum(prod(shapes[name]) for name in biases) if lora.bias != "none" else 0)
        + (sum(_magnitudes(path, layers[path], str(kind)) for path in adapted) if lora.use_dora else 0)
        + width * len(lora.trainable_token_indices or ())
    )
    return AdapterSize(parameters, changed / max(sum(linear.values()), 1))


def _with_head(shapes: Shapes) -> Shapes:
    """Add the output head if it is the embedding."""
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    embedding = next((shape for name, shape in matrices.items() if not _is_linear(name.removesuffix(".weight"))), None)
    has_head = any(name.endswith(("lm_head.weight", "embed_out.weight")) for name in matrices)
    return shapes if has_head or embedding is None else shapes | {"lm_head.weight": embedding}


def _layers(shapes: Shapes) -> Shapes:
    """Return the shapes of the matrices by the names of their modules."""
    return {
        name.removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2
    }


def _modules(shapes: Shapes) -> set[str]:
    parts = [name.split(".")[:-1] for name in shapes]
    return {".".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}


def _adapted(layers: Shapes, lora: LoraSpec) -> list[str]:
    chosen = _matching("lora.target_modules", lora.target_modules, layers)
    excluded = _matching("lora.exclude_modules", lora.exclude_modules or (), layers)
    return [path for path in layers if path in chosen and path not in excluded]


def _matching(key: str, names: tuple[str, ...] | str, layers: Shapes) -> set[str]:
    """Return the layers that the value of a field means."""
    if names == "all-linear":
        return {path for path in layers if _is_linear(path)}
    if isinstance(names, tuple):
        return {path for path in layers if any(f".{path}".endswith(f".{name}") for name in names)}
    # A checkpoint without an output head lacks the first part of the names.
    spelt = {prefix + path: path for prefix in BASE_PREFIXES for path in layers} | {path: path for path in layers}
    return {spelt[each] for each in full_matches(key, names, list(spelt))}


def _is_linear(path: str) -> bool:
    return not any(part in path.rpartition(".")[2] for part in NO_LINEAR)


def _magnitudes(path: str, shape: tuple[int, ...], kind: str) -> int:
    """Return the number of lengths that DoRA trains in a layer."""
    is_transposed = kind in TRANSPOSED if _is_linear(path) else not path.endswith("lm_head")
    return shape[1] if is_transposed else shape[0]

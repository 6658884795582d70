"""The weights of a local base model as transformers holds them once it is loaded, from their names and shapes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path

from msgspec import Struct

from engine.preflight.base_model import read_config, tensor_shapes
from engine.preflight.families import ADAPTED_EXPERTS, KNOWN, LOADED_AS_TEXT, PREFIXES, family_of

Shapes = dict[str, tuple[int, ...]]

EMBEDDINGS, HEADS = ("embed", "wte", "wpe"), frozenset({"lm_head", "head"})  # parts of the names, and the names
VISION_OR_AUDIO = re.compile(
    r"(^|\.)(vision|visual|audio|multi_modal|mm)(_\w+)?\."
)  # parts of a model that see or hear
FURTHER = re.compile(r"(^|\.)mtp")  # what predicts further tokens, which transformers does not load
LAYER = re.compile(r"\.layers\.(\d{1,9})\.")
# Transformers stacks the matrices of all experts of a layer, and fuses the two before their activation
# (transformers.conversion_mapping).
EXPERT = re.compile(r"(?P<block>.+)\.experts\.\d+\.(?P<name>\w+)\.weight")
FUSED = (("gate_proj", "up_proj"), ("w1", "w3"))
STACKED = re.compile(r"(?P<block>.+)\.(?P<name>experts\.\w+|input_linear\.weight|output_linear\.weight)")
ROUTERS = ("gate", "router", "router.layer")  # beside the experts
RENAMED = {"input_linear.weight": "experts.gate_up_proj", "output_linear.weight": "experts.down_proj"}


class BaseWeights(Struct, frozen=True):
    """The weights of a base model by name.

    Attributes:
        shapes: of all of them, the output head too if it is the embedding.
        layers: the shapes of the matrices that can get an adapter, by the paths of their modules: [out, in], but
            [in, out] in GPT-2.
        linear: the paths among them that are neither those of embeddings nor of the output head.
        experts: names of the parameters that hold a matrix of each expert of a layer, [experts, rows, columns].
    """

    shapes: Shapes
    layers: Shapes
    linear: frozenset[str]
    experts: frozenset[str]

    @property
    def matrices(self) -> dict[str, int]:
        """The sizes of what is neither a vector, nor part of a norm, an embedding or the output head, by name."""
        return {
            name: prod(shape)
            for name, shape in self.shapes.items()
            if len(shape) > 1 and "norm" not in name and not (len(shape) == 2 and _is_embedding(name))
        }


def base_weights(directory: Path) -> BaseWeights:
    """Return the weights of a local model; of an unknown family, whose code may be its own, as they are stored.

    Raises:
        ModelError: its config.json or a weights file cannot be read.
    """
    files = (directory / "config.json", *sorted(directory.glob("*.safetensors")))
    return _base_weights(directory, tuple(map(_stamp, files)))


def _stamp(file: Path) -> tuple[str, int, int]:
    """Return what changes when a file does."""
    try:
        status = file.stat()
    except OSError:  # which the reading says
        return file.name, 0, 0
    return file.name, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _base_weights(directory: Path, stamps: tuple[tuple[str, int, int], ...]) -> BaseWeights:
    """Return the weights; with 100,000 matrices of experts it takes half a second, and a form asks at every change."""
    config, shapes = read_config(directory), tensor_shapes(directory)
    blocks: set[str] = set()
    if family_of(config) in KNOWN | ADAPTED_EXPERTS:
        shapes, blocks = _stacked(_loaded(shapes, config))
    embedding = next((shape for name, shape in shapes.items() if len(shape) == 2 and _is_embedding(name)), None)
    if embedding is not None and not any(_module(name) in HEADS for name in shapes):
        shapes = shapes | {"lm_head.weight": embedding}
    routers = {f"{block}.{name}.weight" for block in blocks for name in ROUTERS}
    layers: Shapes = {
        name.removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and name not in routers and not VISION_OR_AUDIO.search(name)
    }
    linear = frozenset(path for path in layers if not _is_embedding(f"{path}.weight"))
    stacked = (name for name, shape in shapes.items() if len(shape) == 3 and ".experts." in name)
    experts = frozenset(name for name in stacked if not name.endswith("_scales"))
    return BaseWeights(shapes, layers, linear, experts)


def _is_embedding(name: str) -> bool:
    """Return whether a matrix is that of an embedding or of the output head."""
    module = _module(name)
    return module in HEADS or any(part in module for part in EMBEDDINGS)


def _module(name: str) -> str:
    """Return the last name of the module whose weight this is, empty for another parameter."""
    return name.removesuffix(".weight").rpartition(".")[2] if name.endswith(".weight") else ""


def _loaded(shapes: Shapes, config: Mapping[str, object]) -> Shapes:
    """Return the shapes of what is loaded, by its names in the model: no layers that predict further tokens."""
    family, text = family_of(config), config.get("text_config")
    part = text if isinstance(text, dict) else config
    count = part.get("num_hidden_layers")
    before, after = PREFIXES.get(family, ("", ""))
    loaded: Shapes = {}
    for name, shape in shapes.items():
        layer = LAYER.search(name)
        if VISION_OR_AUDIO.search(name):
            if family not in LOADED_AS_TEXT:
                loaded[name] = shape
        elif FURTHER.search(name) or (layer and isinstance(count, int) and int(layer[1]) >= count):
            continue
        elif part is text:
            loaded[_name_in_text(name, family in LOADED_AS_TEXT)] = shape
        else:
            loaded[after + name.removeprefix(before) if name.startswith(before) else name] = shape
    return loaded


def _name_in_text(name: str, alone: bool) -> str:
    """Return the name of a weight of a multimodal model, of which only the part for text is loaded if `alone`."""
    own = re.sub(r"^(model\.|language_model\.)+", "", name)
    if own.startswith("lm_head."):
        return own
    return f"model.{own}" if alone else f"model.language_model.{own}"


def _stacked(shapes: Shapes) -> tuple[Shapes, set[str]]:
    """Return the shapes with those of experts stacked, and the paths of the blocks that hold experts."""
    result: Shapes = {}
    blocks: dict[str, Counter[str]] = {}
    for name, shape in shapes.items():
        if len(shape) == 2 and (match := EXPERT.fullmatch(name)):
            stack = f"{match['block']}.experts.{match['name']}"
            blocks.setdefault(match["block"], Counter())[match["name"]] += 1
            result[stack] = (blocks[match["block"]][match["name"]], *shape)
            continue
        if name.endswith("_blocks") and len(shape) == 4:  # of 4 bits (MXFP4): [experts, rows, groups, bytes]
            name, shape = name.removesuffix("_blocks"), (*shape[:2], 2 * shape[2] * shape[3])
        match = STACKED.fullmatch(name) if len(shape) == 3 and not name.endswith("_scales") else None
        if match:
            blocks.setdefault(match["block"], Counter())
        result[f"{match['block']}.{RENAMED.get(match['name'], match['name'])}" if match else name] = shape
    for block, names in blocks.items():
        for first, second in FUSED:
            if first in names and second in names:
                number, rows, columns = result.pop(f"{block}.experts.{first}")
                rows += result.pop(f"{block}.experts.{second}")[1]
                result[f"{block}.experts.gate_up_proj"] = (number, rows, columns)
        if "w2" in names:
            result[f"{block}.experts.down_proj"] = result.pop(f"{block}.experts.w2")
    return result, set(blocks)

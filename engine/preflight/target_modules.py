"""Name the modules of a base model that can take an adapter, without torch and without the network."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from engine.errors import ModelError, SpecError
from engine.preflight.base_model import ALSO_TARGETS, find_model_dir, read_config, tensor_shapes
from engine.preflight.base_weights import BaseWeights, base_weights
from engine.preflight.families import (
    ADAPTED_EXPERTS,
    BASE_PREFIXES,
    KNOWN,
    MAMBA_FAMILIES,
    MAMBA_MODULES,
    ROUTER,
    USUAL,
    family_of,
    names_in_experts,
)
from engine.preflight.regular_expression import full_matches
from engine.spec.fields import format_value
from engine.spec.lora import LoraSpec


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
    if lora.target_modules == "all-linear" and lora.lora_dropout and family_of(config) in ADAPTED_EXPERTS:
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

    A checkpoint without an output head may lack the first part of these names. Of a multimodal model of an unknown
    family only the expression itself is checked.
    """
    pattern = lora.target_modules
    if isinstance(pattern, tuple) or pattern == "all-linear":
        return
    paths = list(dict.fromkeys((*base_weights(directory).layers, "lm_head")))  # whose weights may be an embedding's
    has_prefix = any(path.startswith(BASE_PREFIXES) for path in paths)
    layers = [prefix + path for prefix in ("", *(() if has_prefix else BASE_PREFIXES)) for path in paths]
    parents = dict.fromkeys(
        ".".join(parts[:end]) for path in layers for parts in [path.split(".")] for end in range(1, len(parts))
    )
    config = read_config(directory)
    if "text_config" in config and family_of(config) not in KNOWN:
        full_matches("lora.target_modules", pattern, layers)
    else:
        check_expression(pattern, layers, list(parents))


def lacks(key: str, name: str, kind: Literal["layer", "module", "parameter"], paths: Iterable[str]) -> SpecError:
    """Return the sentence on a `name` in the field `key` that none of the `paths` of a model ends with."""
    names = sorted({part for path in paths if not (part := path.rpartition(".")[2]).isdigit()})
    return SpecError(f"{key} has {name!r}, which is not a {kind} of this model: it has {', '.join(names)}", key)


def check_target_modules(targets: tuple[str, ...], modules: frozenset[str]) -> None:
    """Raise SpecError if one of `targets` is not among the model's `modules`; the error lists them."""
    for name in targets:
        if name.rpartition(".")[2] not in modules | ALSO_TARGETS:
            raise SpecError(
                f"lora.target_modules has {name!r}, which this model lacks: it has "
                f"{', '.join(sorted(each for each in modules if not each.isdigit()))}",
                "lora.target_modules",
            )


def check_parameters(names: Iterable[str], shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise SpecError if one of `names`, of `lora.target_parameters`, is not that of a matrix of a model.

    `shapes` are those of the model's parameters, by their paths.
    """
    matrices = [path for path, shape in shapes.items() if len(shape) in (2, 3)]
    for name in names:
        if not any(f".{path}".endswith(f".{name}") for path in matrices):
            raise lacks(
                "lora.target_parameters", name, "parameter", (path.removesuffix(".weight") for path in matrices)
            )


def check_names_in(directory: Path, lora: LoraSpec) -> None:
    """Raise SpecError if a local model lacks a module or parameter that the spec names.

    All but `lora.target_modules` is checked only of families whose weights are known to be named as here.
    """
    family, weights = family_of(read_config(directory)), base_weights(directory)
    if isinstance(lora.target_modules, tuple):
        check_target_modules(lora.target_modules, frozenset(_counts(weights, family)) - ALSO_TARGETS)
    layers = {*weights.layers, *ALSO_TARGETS}
    excluded = lora.exclude_modules if isinstance(lora.exclude_modules, tuple) and family in KNOWN else ()
    for name in excluded:
        if not any(f".{path}".endswith(f".{name}") for path in layers):
            raise lacks("lora.exclude_modules", name, "layer", layers)
    if family in KNOWN:
        check_parameters(lora.target_parameters or (), weights.shapes)
    if not lora.modules_to_save or family not in USUAL:
        return
    owners = (name.rpartition(".")[0].split(".") for name in weights.shapes)
    modules = {".".join(parts[:end]) for parts in owners for end in range(1, len(parts) + 1)} | ALSO_TARGETS
    for name in lora.modules_to_save:
        if not any(path.endswith(name) for path in modules):
            raise lacks("lora.modules_to_save", name, "module", modules)


def _counts(weights: BaseWeights, family: str) -> dict[str, int]:
    """Count what may be named in `lora.target_modules`, by last names: layers, and what experts and routers had."""
    counts = Counter(path.rpartition(".")[2] for path in weights.layers)
    if names := names_in_experts(family):
        of_experts = Counter(name.rpartition(".")[2] for name in weights.experts)
        counts.update(dict.fromkeys(names[:2], of_experts["gate_up_proj"]) | {names[2]: of_experts["down_proj"]})
        counts[ROUTER] += sum(name.endswith(f".{ROUTER}.weight") for name in weights.shapes)
    return {name: count for name, count in counts.items() if count}


class ModelModules(Struct, frozen=True):
    """Names that the fields of a model's modules may have, with the count of each, None if the weights are not here.

    Attributes:
        all_linear: modules that peft's `all-linear` takes.
        others: modules that must be named one by one: embeddings, the output head, and routers where peft knows them.
        parameters: for `lora.target_parameters`, those that hold the experts of a layer.
    """

    all_linear: dict[str, int | None]
    others: dict[str, int | None]
    parameters: dict[str, int | None] = {}


def model_modules(path: str, environment: Mapping[str, str] = os.environ, revision: str | None = None) -> ModelModules:
    """Return the modules of the model that a spec names, from its weights or else from its architecture.

    Raises:
        ModelError: the model is not on this machine, or its architecture is unknown here.
    """
    directory = find_model_dir(path, environment, revision)
    if directory is None:
        raise ModelError(f"model.path is {path!r}, which is not on this machine yet: type the names of the modules")
    if not tensor_shapes(directory):
        return ModelModules(dict.fromkeys(_usual(directory, path)), dict.fromkeys(sorted(ALSO_TARGETS)))
    weights, family = base_weights(directory), family_of(read_config(directory))
    # A number, as in a sequence of layers, would also mean a whole layer of the model.
    counts = {name: count for name, count in _counts(weights, family).items() if not name.isdigit()}
    beside = MAMBA_MODULES if family in MAMBA_FAMILIES else ()
    linear = {path.rpartition(".")[2] for path in weights.linear} | {*names_in_experts(family)}
    return ModelModules(
        {name: count for name, count in counts.items() if name in linear and name not in beside},
        {name: count for name, count in counts.items() if name not in linear},
        dict(Counter(".".join(name.split(".")[-2:]) for name in sorted(weights.experts))),
    )


def _usual(directory: Path, path: str) -> tuple[str, ...]:
    try:
        config = read_config(directory)
    except ModelError as error:
        raise ModelError(f"model.path is {path!r}: its config.json cannot be read: type the module names") from error
    family = family_of(config)
    if family not in USUAL:
        raise ModelError(
            f"model.path is {path!r}, a {config.get('model_type')}, whose modules are unknown here: type their names"
        )
    return USUAL[family]

"""The modules of a model that can get an adapter, from the model itself."""

from __future__ import annotations

import copy
from math import prod
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer, check_target_module_exists
from peft.utils import ModulesToSaveWrapper

from engine.errors import SpecError
from engine.preflight.base_model import ALSO_TARGETS
from engine.preflight.checks import quantised_by
from engine.preflight.families import MAMBA_FAMILIES, MAMBA_MODULES
from engine.preflight.regular_expression import full_matches
from engine.preflight.target_modules import check_expression, check_target_modules, lacks
from engine.preflight.tied_embeddings import INPUT, OUTPUT, adapted_alone, saved_alone
from engine.spec.lora import LoraSpec
from engine.spec.schema import Spec
from engine.training.runtime.hub_errors import first_line


def check_targets(targets: tuple[str, ...] | str, model: Any) -> None:
    """Raise SpecError if one of `targets` is not the name of a module of `model` that can take an adapter.

    A regular expression has to match the paths of such modules, and of no others.
    """
    if targets == "all-linear":
        return
    paths = _layers(model)
    if isinstance(targets, str):
        beside = set(beside_the_text(model) or ())
        others = [path for path, _ in model.named_modules() if path and path not in paths]
        check_expression(targets, [path for path in paths if path not in beside], others)
        return
    in_experts = _names_in_experts(targets, model)
    names = frozenset(path.rpartition(".")[2] for path in paths) | in_experts
    check_target_modules(targets, names - ALSO_TARGETS)
    for name in targets:
        # peft matches a name with the end of a module's path, and silently ignores one that matches no module.
        if name not in in_experts and not any(f".{path}".endswith(f".{name}") for path in paths):
            raise SpecError(
                f"lora.target_modules has {name!r}, but this model has no module of that name: it has, for example, "
                f"{paths[1]}",
                "lora.target_modules",
            )


def _layers(model: Any) -> list[str]:
    """Return the paths of the layers of `model` that can get an adapter."""
    routers = {id(module) for module in _routers(model)}
    return [
        path
        for path, module in model.named_modules()
        if (isinstance(module, (torch.nn.Linear, torch.nn.Embedding)) or type(module).__name__ == "Conv1D")
        and id(module) not in routers
    ]


def check_modules_to_save(spec: Spec, model: Any) -> None:
    """Raise SpecError if one of `lora.modules_to_save` is not the name of a module of `model` that can be trained."""
    modules = dict(model.named_modules())
    head = model.get_output_embeddings()
    for name in spec.lora.modules_to_save or ():
        chosen = [module for path, module in modules.items() if path.endswith(name)]  # as peft matches it
        if not chosen:
            raise lacks("lora.modules_to_save", name, "module", (path for path in modules if path))
        layers = [layer for module in chosen for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
        if (key := quantised_by(spec.model)) is not None and any(layer is not head for layer in layers):
            raise SpecError(
                f"lora.modules_to_save has {name!r}, whose weights are quantised and cannot be trained: set {key} to "
                f"false, or name only embeddings, norms and the output head",
                "lora.modules_to_save",
            )


def resolve_experts(config: LoraConfig, model: Any) -> None:
    """Say in `config` which weights get an adapter, in a family in whose experts peft puts some by their former names.

    peft would have a regular expression mean the experts of all layers, `all-linear` the routers too, and a name that
    experts had leave out the dense layers of that name: these get their adapters as parameters.
    """
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    targets, own = config.target_modules, set(config.target_parameters or ())
    chosen, confused = _chosen_layers(config, model), _named_as_experts(model)
    if isinstance(targets, str) and targets != "all-linear":
        config.target_modules = chosen - confused
    else:
        convert_peft_config_for_transformers(config, model, None)
    added = set(config.target_parameters or ()) - own
    if targets == "all-linear":
        stacked = [f".{name}" for name, parameter in model.named_parameters() if parameter.ndim == 3]
        added = {name for name in added if any(each.endswith(f".{name}") for each in stacked)}
    config.target_parameters = sorted(own | added | {f"{path}.weight" for path in chosen & confused}) or None


def _chosen_layers(config: LoraConfig, model: Any) -> set[str]:
    """Return the paths of the layers of `model` that the modules of `config` mean, without those that it excludes."""
    chosen = copy.copy(config)
    if config.target_modules == "all-linear":
        beside = (*(m for m in model.modules() if isinstance(m, torch.nn.Embedding)), model.get_output_embeddings())
        chosen.target_modules = {p for p in _layers(model) if all(model.get_submodule(p) is not m for m in beside)}
    elif isinstance(config.target_modules, str):
        chosen.target_modules = set(full_matches("lora.target_modules", config.target_modules, _layers(model)))
    return {path for path in _layers(model) if check_target_module_exists(chosen, path)}


def _named_as_experts(model: Any) -> set[str]:
    """Return the paths of the layers of `model` that peft takes for experts, which had the same names."""
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    # A quantised weight has no rows and columns for the adapter of a parameter.
    paths = {path for path in _layers(model) if model.get_submodule(path).weight.is_floating_point()}
    config = LoraConfig(target_modules=list(paths))
    convert_peft_config_for_transformers(config, model, None)
    return paths - set(config.target_modules or ())


def excluded(lora: LoraSpec, model: Any) -> list[str] | str | None:
    """Return peft's `exclude_modules`: those of the spec, and those of `model` that are left to the base.

    Raises:
        SpecError: the model lacks one that the spec names, or a regular expression matches none.
    """
    key, chosen = "lora.exclude_modules", lora.exclude_modules
    paths = _layers(model)
    if isinstance(chosen, tuple):
        for name in chosen:
            if not any(f".{path}".endswith(f".{name}") for path in paths):
                raise lacks(key, name, "layer", paths)
    base = left_to_the_base(model) if lora.target_modules == "all-linear" else beside_the_text(model)
    if not isinstance(chosen, str):
        return [*(base or ()), *(chosen or ())] or None
    matched = full_matches(key, chosen, paths)
    if not matched:
        raise SpecError(
            f"{key} is {chosen!r}, a regular expression that matches no layer of this model: it has to match a "
            f"whole path, such as {paths[len(paths) // 2]}",
            key,
        )
    return [*base, *matched] if base else chosen


def _names_in_experts(targets: tuple[str, ...], model: Any) -> frozenset[str]:
    """Return those of `targets` that peft maps to the weights of all experts, in which transformers holds them."""
    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
    except ImportError:  # a version of peft that maps none
        return frozenset()
    config = LoraConfig(target_modules=list(targets))
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError as error:  # one of two matrices that are held as one
        raise cannot_adapt(targets, error) from error
    return frozenset(targets) - frozenset(config.target_modules or ())


def cannot_adapt(targets: tuple[str, ...] | str, error: Exception) -> SpecError:
    """Return the sentence on an `error` that peft raised for these `lora.target_modules`."""
    names = targets if isinstance(targets, str) else ", ".join(targets)
    return SpecError(
        f"lora.target_modules is {names}, which cannot get an adapter in this model: {first_line(error)}",
        "lora.target_modules",
    )


def left_to_the_base(model: Any) -> list[str] | None:
    """Return the modules that `all-linear` has to leave alone: routers, which give no single tensor, and Mamba's."""
    routers = {id(module) for module in _routers(model)}
    names = {path for path, module in model.named_modules() if id(module) in routers} | set(
        beside_the_text(model) or ()
    )
    if model.config.model_type in MAMBA_FAMILIES:
        names |= set(MAMBA_MODULES)
    return sorted(names) or None


def beside_the_text(model: Any) -> list[str] | None:
    """Return the modules of the parts of `model` that see or hear, which are never trained; None if it has none."""
    if model.config.get_text_config() is model.config:
        return None
    text = {id(module) for part in (model.get_decoder(), model.get_output_embeddings()) for module in part.modules()}
    layers = (torch.nn.Linear, torch.nn.Embedding)
    return [path for path, module in model.named_modules() if isinstance(module, layers) and id(module) not in text]


def _routers(model: Any) -> list[torch.nn.Module]:
    """Return the linear layers of `model` that choose experts and give several results, by transformers' names."""
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return [module for module in linear if "Router" in type(module).__name__]


def unadapted(model: Any) -> tuple[float, tuple[str, ...]]:
    """Return the share of the base's weights, embeddings aside, without an adapter, and the names of these weights."""
    base = {
        name: parameter
        for name, parameter in model.named_parameters()
        if not any(added in name for added in (".lora_", ".modules_to_save.", ".trainable_tokens_"))
    }
    in_full = [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]
    adapted = {id(parameter) for module in in_full for parameter in module.original_module.parameters()} | {
        id(parameter)
        for module in model.modules()
        if isinstance(module, LoraLayer)
        for parameter in _adapted_weights(module)
    }
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]  # of positions too
    embeddings = {
        id(parameter)
        for module in (*layers, model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None
        for parameter in module.parameters()
    }
    matrices = {n: p for n, p in base.items() if p.ndim > 1 and id(p) not in embeddings and "norm" not in n}
    without = {name: parameter for name, parameter in matrices.items() if id(parameter) not in adapted}
    total = sum(map(_size_of, matrices.values()))
    names = dict.fromkeys(
        ".".join(name.removesuffix(".weight").rsplit(".", 2)[-2:])
        for name in sorted(without, key=lambda name: -_size_of(without[name]))
    )
    return sum(map(_size_of, without.values())) / max(total, 1), tuple(names)


def _size_of(parameter: torch.nn.Parameter) -> int:
    """Return the number of values, of which 4 bits have two in a byte."""
    quantised = getattr(parameter, "quant_state", None)
    return parameter.numel() if quantised is None else prod(quantised.shape)


def _adapted_weights(module: Any) -> list[torch.nn.Parameter]:
    """Return the weights of the base that a LoRA layer changes: one parameter of many, or all of a module."""
    if hasattr(module, "parameter_name"):
        return [module.get_param()]
    return list(module.get_base_layer().parameters())


def tied_warnings(model: Any) -> list[str]:
    """Return a warning for each embedding of an adapted `model` that shares its weights and is adapted alone."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    if None in modules or _base_weight(modules[0]) is not _base_weight(modules[1]):
        return []
    names = [
        next(path.rpartition(".")[2] for path, each in model.named_modules() if each is module) for module in modules
    ]
    saved = [isinstance(module, ModulesToSaveWrapper) for module in modules]
    warnings = []
    for module, name, in_full, other in zip(modules, names, saved, (OUTPUT, INPUT), strict=True):
        if isinstance(module, LoraLayer):
            warnings.append(adapted_alone(name, other))
        elif in_full and not all(saved):
            warnings.append(saved_alone(name, other))
    return warnings


def _base_weight(module: Any) -> torch.Tensor:
    """Return the weight of the base model in an embedding, whatever wraps it."""
    own = module.original_module if isinstance(module, ModulesToSaveWrapper) else module
    weight: torch.Tensor = (own.get_base_layer() if isinstance(own, BaseTunerLayer) else own).weight
    return weight

"""The LoRA adapter on a base model: its creation, the check of its target modules, and saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import (
    PreTrainedTokenizerBase,
)

from engine.errors import SpecError
from engine.preflight.base_model import (
    ALSO_TARGETS,
    check_target_modules,
)
from engine.spec.schema import Spec
from engine.training.model.pissa import Tensors, check_pissa, is_pissa, write_plain

MODEL_CARD = "README.md"


def add_adapter(model: Any, spec: Spec) -> torch.nn.Module:
    """Put a fresh LoRA adapter in float32 on `model`, ready to train.

    Raises:
        SpecError: the model lacks a target module.
    """
    lora = spec.lora
    if lora.target_modules != "all-linear":
        _check_targets(lora.target_modules, model)
    adapted: torch.nn.Module = get_peft_model(model, _lora_config(spec))
    if is_pissa(spec):
        check_pissa(adapted, spec)
    for parameter in trainable_parameters(adapted):
        parameter.data = parameter.data.float()  # a bias of a half-precision base is not upcast by peft
    for module in adapted.modules():
        if isinstance(module, BaseTunerLayer):
            # Everything runs under autocast, which would undo at once peft's cast of the input to float32.
            module.cast_input_dtype_enabled = False
    adapted.train()
    return adapted


def _check_targets(targets: tuple[str, ...], model: torch.nn.Module) -> None:
    """Raise SpecError if one of `targets` is not the name of a module that can take an adapter."""
    paths = [
        path
        for path, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)) or type(module).__name__ == "Conv1D"
    ]
    check_target_modules(targets, frozenset(path.rpartition(".")[2] for path in paths) - ALSO_TARGETS)
    for name in targets:
        # peft matches a name with the end of a module's path, and silently ignores one that matches no module.
        if not any(f".{path}".endswith(f".{name}") for path in paths):
            raise SpecError(
                f"lora.target_modules has {name!r}, but this model has no module of that name: it has, for example, "
                f"{paths[1]}",
                "lora.target_modules",
            )


def _lora_config(spec: Spec) -> LoraConfig:
    lora, modules = spec.lora, spec.lora.target_modules
    # An adapter that adds zero, so that the base model can be measured: PiSSA splits its weights only after that.
    adds_zero = lora.init_lora_weights == "true" or is_pissa(spec)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        bias=lora.bias,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=True if adds_zero else lora.init_lora_weights,
    )


def recompute_activations(model: Any, enabled: bool) -> None:
    """Turn gradient checkpointing on or off: backward recomputes activations from the inputs of the layers."""
    base = model.get_base_model()
    if enabled:
        base.activation_checkpointing_enable(
            {"use_reentrant": False}
        )  # transformers' newer name for gradient checkpointing
    elif base.is_activation_checkpointing:
        base.activation_checkpointing_disable()


def trainable_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters that are trained, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _write_no_card(directory: str) -> None:
    """Take the place of peft's method, which fills in an empty template: half of the time of a small checkpoint."""


def save_adapter(model: Any, tokenizer: PreTrainedTokenizerBase, pissa_initial: Tensors, directory: Path) -> None:
    """Write the adapter as peft loads it on the base model, weights as safetensors, and the tokenizer beside it.

    `pissa_initial` is the adapter that PiSSA subtracted from the base weights, empty without PiSSA.
    """
    model.create_or_update_model_card = _write_no_card
    model.save_pretrained(directory, safe_serialization=True, save_embedding_layers=False)
    if pissa_initial:
        write_plain(directory, pissa_initial)
    tokenizer.save_pretrained(directory)

"""The LoRA adapter on a base model: its creation, the check of its target modules, and saving."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from engine.errors import SpecError
from engine.preflight.families import ADAPTED_EXPERTS, MAMBA_FAMILIES
from engine.preflight.target_modules import check_parameters, no_dropout_in_experts
from engine.spec.schema import Spec
from engine.training.model.loading import auto_class
from engine.training.model.pissa import Tensors, check_pissa, is_pissa, write_plain
from engine.training.model.targets import (
    cannot_adapt,
    check_modules_to_save,
    check_targets,
    excluded,
    resolve_experts,
)
from engine.training.model.tokenizer_files import save_tokenizer
from engine.training.model.trainable_tokens import check_tokens

MODEL_CARD = "README.md"
NO_DROPOUT = "does not work with lora_dropout"  # of peft.tuners.lora.layer.ParamWrapper


def check_adapter(spec: Spec, config: PretrainedConfig, tokens: Sequence[int] = ()) -> None:
    """Check, before weights are loaded, that peft can put the adapter of `spec` on a model of `config`.

    `tokens` are the ids that `lora.trainable_token_indices` means.

    Raises:
        SpecError: it cannot; one sentence, with the way out.
    """
    try:
        with torch.device("meta"):
            model = auto_class(config).from_config(
                copy.deepcopy(config), trust_remote_code=spec.model.trust_remote_code
            )
    except Exception:  # whatever is wrong, the loading says it
        return
    check_targets(spec.lora.target_modules, model)
    check_modules_to_save(spec, model)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    check_parameters(spec.lora.target_parameters or (), shapes)
    lora = spec.lora
    if _is_plain(model) and not (lora.target_parameters or lora.exclude_modules or lora.modules_to_save or tokens):
        return
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # they come again
            _put_on(model, spec, tokens)
    except SpecError:
        raise
    except Exception as error:  # peft raises ValueError and others for what it cannot do
        if NO_DROPOUT in str(error):
            raise no_dropout_in_experts(lora) from error
        raise cannot_adapt(lora.target_modules, error) from error


def _is_plain(model: Any) -> bool:
    """Return whether nothing in `model` is special to peft, so that putting an adapter on it cannot fail."""
    has_experts = any(parameter.ndim > 2 for parameter in model.parameters())
    return not has_experts and model.config.model_type not in MAMBA_FAMILIES


def add_adapter(model: Any, spec: Spec, tokens: Sequence[int] = ()) -> torch.nn.Module:
    """Put a fresh LoRA adapter in float32 on `model`, ready to train, that also trains the embeddings of `tokens`.

    Raises:
        SpecError: the model lacks a target module.
    """
    check_targets(spec.lora.target_modules, model)
    precision = model.dtype
    adapted = _put_on(model, spec, tokens)
    if is_pissa(spec):
        check_pissa(adapted, spec)
    for parameter in trainable_parameters(adapted):
        parameter.data = parameter.data.float()  # a bias of a half-precision base is not upcast by peft
    for module in adapted.modules():
        if isinstance(module, BaseTunerLayer):
            # Everything runs under autocast, which would undo at once peft's cast of the input to float32.
            module.cast_input_dtype_enabled = False
        elif isinstance(module, ModulesToSaveWrapper):
            module.register_forward_hook(partial(_in_precision, precision))
    adapted.train()
    return adapted


def _in_precision(precision: torch.dtype, module: torch.nn.Module, inputs: Any, output: Any) -> Any:
    """Return the output of a module that is trained in full, in float32, in the precision that the base goes on in."""
    return output.to(precision) if isinstance(output, torch.Tensor) and output.is_floating_point() else output


def _put_on(model: Any, spec: Spec, tokens: Sequence[int]) -> torch.nn.Module:
    """Put the adapter of `spec` on `model` as peft does it."""
    config = _lora_config(spec, model, tokens)
    if tokens:
        check_tokens(config, tokens, model)
    adapted: torch.nn.Module = get_peft_model(model, config, revision=spec.model.revision)
    return adapted


def _lora_config(spec: Spec, model: Any, tokens: Sequence[int]) -> LoraConfig:
    lora, modules = spec.lora, spec.lora.target_modules
    # An adapter that adds zero, so that the base model can be measured: PiSSA splits its weights only after that.
    adds_zero = lora.init_lora_weights == "true" or is_pissa(spec)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        target_parameters=list(lora.target_parameters) if lora.target_parameters else None,
        exclude_modules=excluded(lora, model),
        modules_to_save=list(lora.modules_to_save) if lora.modules_to_save else None,
        trainable_token_indices=list(tokens) or None,
        bias=lora.bias,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=True if adds_zero else lora.init_lora_weights,
    )
    if model.config.model_type in ADAPTED_EXPERTS:
        resolve_experts(config, model)
    return config


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


def save_adapter(
    model: Any, tokenizer: PreTrainedTokenizerBase, spec: Spec, pissa_initial: Tensors, directory: Path
) -> None:
    """Write the adapter as peft loads it on the base model, weights as safetensors, and the tokenizer beside it.

    `pissa_initial` is the adapter that PiSSA subtracted from the base weights, empty without PiSSA.
    """
    model.create_or_update_model_card = _write_no_card
    model.save_pretrained(directory, safe_serialization=True, save_embedding_layers=False)
    if pissa_initial:
        write_plain(directory, pissa_initial)
    save_tokenizer(tokenizer, spec.model, directory)

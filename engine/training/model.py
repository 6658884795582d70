"""The base model, its tokenizer, and the adapter on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from engine.errors import ModelError, SpecError
from engine.preflight import check_positions, check_target_modules, local_model_dir
from engine.spec import LoraSpec, Spec
from engine.training.hub import explain, first_line


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer that goes with the base model.

    Raises:
        ModelError: there is none, or it cannot be had.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(_source(path), trust_remote_code=False)
    except Exception as error:  # the library raises whatever its many tokenizers do
        raise ModelError(f"model.path is {path!r}: its tokenizer cannot be loaded, {_reason(error, path)}") from error
    return tokenizer


def load_base_model(spec: Spec, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The base model on `device` in `dtype`, its weights from safetensors alone, none of its own code run.

    Raises:
        ModelError: it cannot be had, or is no causal language model.
        SpecError: `data.max_length` is more than it has positions for.
    """
    path = spec.model.path
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(_source(path), trust_remote_code=False)
        check_positions(spec, getattr(config.get_text_config(), "max_position_embeddings", None))
        model: Any = AutoModelForCausalLM.from_pretrained(
            _source(path), config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except SpecError:
        raise
    except Exception as error:  # the library raises whatever its many models and readers do
        raise ModelError(f"model.path is {path!r}: it cannot be loaded, {_reason(error, path)}") from error
    placed: PreTrainedModel = model.to(device)
    return placed


def _source(path: str) -> str:
    directory = local_model_dir(path)
    return path if directory is None else str(directory)


def _reason(error: Exception, path: str) -> str:
    return explain(error, path, "a directory") if local_model_dir(path) is None else first_line(error)


def check_vocabulary(model: Any, largest_token: int, path: str) -> None:
    """Raise ModelError if the tokenizer knows tokens the model has no embedding for."""
    rows = model.get_input_embeddings().num_embeddings
    if largest_token >= rows:
        raise ModelError(
            f"model.path is {path!r}: its tokenizer gives token {largest_token}, but the model embeds only {rows}: "
            f"tokenizer and model do not belong together"
        )


def add_adapter(model: Any, spec: Spec) -> torch.nn.Module:
    """`model` with a fresh LoRA adapter in float32 on it, ready to train.

    Raises:
        SpecError: a target module the model lacks; names those it has.
    """
    lora = spec.lora
    if lora.target_modules != "all-linear":
        check_target_modules(lora.target_modules, linear_module_names(model))
    if spec.train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()  # else nothing before the adapter needs one
    adapted: torch.nn.Module = get_peft_model(model, _lora_config(lora))
    adapted.train()
    return adapted


def linear_module_names(model: torch.nn.Module) -> frozenset[str]:
    """Last names of the modules that can take an adapter, the output head left out."""
    return frozenset(
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
    ) - {"lm_head"}


def _lora_config(lora: LoraSpec) -> LoraConfig:
    modules = lora.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        bias=lora.bias,
    )


def trainable_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """What is trained, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def save_adapter(model: Any, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """The adapter as peft loads it, weights as safetensors, and the tokenizer beside it."""
    model.save_pretrained(directory, safe_serialization=True, save_embedding_layers=False)
    tokenizer.save_pretrained(directory)

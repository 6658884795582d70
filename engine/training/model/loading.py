"""The base model, its tokenizer, and the adapter on it."""

from __future__ import annotations

from typing import Any

import torch
from peft import prepare_model_for_kbit_training
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from engine.errors import ModelError
from engine.preflight.base_model import (
    TOKENIZER_FILES,
    check_layers,
    check_positions,
    local_model_dir,
)
from engine.preflight.checks import check_4_bits
from engine.spec.schema import ModelSpec, Spec
from engine.training.kernels.rms_norm import fuse_norms
from engine.training.kernels.rotary import fuse_rotary
from engine.training.kernels.swiglu import fuse_swiglu
from engine.training.runtime.hub_errors import explain_hub_error, first_line

NEEDS_CODE = (
    "it needs Python code that comes with it, which is not run: set model.trust_remote_code to true if you trust who "
    "wrote it"
)


def load_tokenizer(model: ModelSpec) -> PreTrainedTokenizerBase:
    """The tokenizer that goes with the base model.

    Raises:
        ModelError: there is none, it cannot be had, or it knows no end-of-sequence token to teach.
    """
    path = model.path
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            _source(path), trust_remote_code=model.trust_remote_code
        )
    except Exception as error:  # the library raises whatever its many tokenizers do
        directory = local_model_dir(path)
        if directory is not None and not any((directory / name).is_file() for name in TOKENIZER_FILES):
            reason = "there is no tokenizer in it, copy tokenizer.json there"
        else:
            reason = f"its tokenizer cannot be loaded: {_reason(error, path)}"
        raise ModelError(f"model.path is {path!r}: {reason}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"model.path is {path!r}: its tokenizer has no end-of-sequence token: name one as eos_token in its "
            f"tokenizer_config.json"
        )
    return tokenizer


def load_config(spec: Spec) -> PretrainedConfig:
    """The configuration of the base model.

    Raises:
        ModelError: it cannot be had, or the model is no causal language model.
        SpecError: `data.max_length` is more than the model has positions for.
    """
    path, trusted = spec.model.path, spec.model.trust_remote_code
    try:
        check_layers(PretrainedConfig.get_config_dict(_source(path))[0], path)
        config: PretrainedConfig = AutoConfig.from_pretrained(_source(path), trust_remote_code=trusted)
    except ModelError:
        raise
    except Exception as error:  # the library raises whatever its many models and readers do
        raise ModelError(f"model.path is {path!r}: it cannot be loaded: {_reason(error, path)}") from error
    check_positions(spec, getattr(config.get_text_config(), "max_position_embeddings", None))
    _check_causal(config, path, trusted)
    return config


def load_base_model(spec: Spec, config: PretrainedConfig, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The base model on `device` in `dtype`, its weights from safetensors alone.

    Code of its own is run only if `model.trust_remote_code` says so.

    Raises:
        ModelError: it cannot be had.
    """
    path = spec.model.path
    check_4_bits(spec)
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            _source(path),
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=spec.model.trust_remote_code,
            output_loading_info=True,
            **(_in_4_bits(dtype, device) if spec.model.load_in_4bit else {}),
        )
    except Exception as error:  # the library raises whatever its many models and readers do
        raise ModelError(f"model.path is {path!r}: it cannot be loaded: {_reason(error, path)}") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):  # the library would train on with random numbers in their place
        raise ModelError(f"model.path is {path!r}: its weights lack {missing[0]}: copy or download the model again")
    if spec.model.load_in_4bit:
        _prepare_4_bits(model)
    placed: PreTrainedModel = model.to(device)
    if device.type in ("cpu", "cuda"):  # measured there alone
        fuse_norms(placed)
        fuse_rotary(placed)
    if device.type == "cuda":  # whose compiler makes their kernels
        fuse_swiglu(placed)
    return placed


def _in_4_bits(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """QLoRA's way of holding the base model: NF4, its constants quantised too (https://arxiv.org/abs/2305.14314)."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": quantization, "device_map": {"": device}}


def _prepare_4_bits(model: PreTrainedModel) -> None:
    """Hold what is not quantised in float32, and keep every layer one that gradients go through."""
    from bitsandbytes.nn import Linear4bit

    prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # On a CPU with AVX-512 an evaluation would pack the weights for inference, and no gradient passes those.
            module.support_avx512bf16_for_cpu = False


def _source(path: str) -> str:
    directory = local_model_dir(path)
    return path if directory is None else str(directory)


def _reason(error: Exception, path: str) -> str:
    directory = local_model_dir(path)
    if directory is None:
        return NEEDS_CODE if "trust_remote_code" in str(error) else explain_hub_error(error, path, "a directory")
    if not directory.is_dir():
        return "there is no such directory"
    if not any(directory.glob("*.safetensors")):
        return "there are no .safetensors weights in it, and no others are read as they could run code: convert them"
    if (directory / "adapter_config.json").is_file():
        return "it holds an adapter: name its base model, or merge the two"
    if "trust_remote_code" in str(error):
        return NEEDS_CODE
    if isinstance(error, SafetensorError) or "mismatched" in str(error):
        return "its weights are damaged or not those of its config.json: copy or download the model again"
    return first_line(error)


def _check_causal(config: Any, path: str, trusted: bool) -> None:
    """Raise ModelError for a model of another kind, whose output head would be made up at random."""
    if trusted and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if causal is None or causal not in (config.architectures or [causal]):
        kind = ", ".join(config.architectures or [config.model_type])
        raise ModelError(
            f"model.path is {path!r}: it is a {kind}, and only causal language models can be trained: give another"
        )


def check_vocabulary(model: Any, largest_token: int, path: str) -> None:
    """Raise ModelError if the tokenizer knows tokens the model has no embedding for."""
    rows = model.get_input_embeddings().num_embeddings
    if largest_token >= rows:
        raise ModelError(
            f"model.path is {path!r}: its tokenizer gives token {largest_token}, but the model embeds only {rows}: "
            f"tokenizer and model do not belong together"
        )

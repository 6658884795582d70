"""Loading of the base model, its configuration and its tokenizer."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from logging import ERROR, getLogger
from typing import Any

import torch
from peft import prepare_model_for_kbit_training
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.utils import logging

from engine.errors import ModelError, SpecError
from engine.preflight.base_model import (
    MAIN,
    TOKENIZER_FILES,
    check_layers,
    check_positions,
    local_model_dir,
    not_causal,
)
from engine.preflight.checks import check_attention_package, check_quantisation, quantised_by
from engine.spec.schema import ModelSpec, Spec
from engine.training.data.tokenize import Example
from engine.training.runtime.hub_errors import explain_hub_error, first_line

# Ends of names of classes whose weights a causal language model takes, those of others or with a vision part too.
DECODERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
LARGER_EMBEDDING = (
    "use the tokenizer that belongs to the model, or save the model with a larger embedding (resize_token_embeddings)"
)
ON_CPU = ("eager", "sdpa")
NEEDS_CODE = (
    "it needs its own Python code, which is not run: set model.trust_remote_code to true if you trust its author"
)


def load_tokenizer(model: ModelSpec) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the base model.

    Raises:
        ModelError: it is missing, cannot be loaded, or has no end-of-sequence token.
    """
    path = model.path
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            **_source(model), trust_remote_code=model.trust_remote_code
        )
    except Exception as error:  # the library's many tokenizers may raise anything
        directory = local_model_dir(path)
        if directory is not None and not any((directory / name).is_file() for name in TOKENIZER_FILES):
            reason = "it has no tokenizer: copy tokenizer.json there"
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
    """Load the configuration of the base model.

    Raises:
        ModelError: it cannot be loaded, or is not that of a causal language model.
        SpecError: the model has fewer positions than `data.max_length`.
    """
    path, trusted = spec.model.path, spec.model.trust_remote_code
    try:
        check_layers(PretrainedConfig.get_config_dict(**_source(spec.model))[0], path)
        config: PretrainedConfig = AutoConfig.from_pretrained(**_source(spec.model), trust_remote_code=trusted)
    except ModelError:
        raise
    except Exception as error:  # the library's many models and readers may raise anything
        raise ModelError(f"model.path is {path!r}: it cannot be loaded: {_reason(error, path)}") from error
    check_positions(spec, getattr(config.get_text_config(), "max_position_embeddings", None))
    _check_causal(config, path, trusted)
    return config


def load_base_model(spec: Spec, config: PretrainedConfig, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Load the base model to `device` in `dtype`, its weights from safetensors only.

    Its own Python code is run only if `model.trust_remote_code` is true.

    Raises:
        ModelError: it cannot be loaded.
    """
    path = spec.model.path
    check_quantisation(spec)
    _check_attention(spec, config, device)
    logging.disable_progress_bar()
    try:
        loaded: Any = auto_class(config).from_pretrained(
            **_source(spec.model),
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=spec.model.trust_remote_code,
            output_loading_info=True,
            **_attention(spec.model),
            **(_quantised(spec.model, dtype, device) if quantised_by(spec.model) is not None else {}),
        )
    except Exception as error:  # the library's many models and readers may raise anything
        raise ModelError(f"model.path is {path!r}: it cannot be loaded: {_reason(error, path)}") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):  # the library would go on with random weights instead
        raise ModelError(f"model.path is {path!r}: its weights have no {missing[0]}: copy or download the model again")
    if quantised_by(spec.model) is not None:
        _prepare_quantised(model)
    placed: PreTrainedModel = model.to(device)
    return placed


def auto_class(config: Any) -> Any:
    """Return transformers' loader for models of `config`: for text, or for a model that also sees and has no other."""
    only_sees = config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and _takes_images(config)
    return AutoModelForImageTextToText if only_sees else AutoModelForCausalLM


def _takes_images(config: Any) -> bool:
    encodes = any(getattr(each, "is_encoder_decoder", False) for each in (config, config.get_text_config()))
    return config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not encodes


def _attention(model: ModelSpec) -> dict[str, str]:
    return {} if model.attn_implementation == "auto" else {"attn_implementation": model.attn_implementation}


def _check_attention(spec: Spec, config: PretrainedConfig, device: torch.device) -> None:
    """Raise SpecError if the model, or the device, cannot use `model.attn_implementation`."""
    chosen, key = spec.model.attn_implementation, "model.attn_implementation"
    if chosen == "auto":
        return
    check_attention_package(spec.model)
    if device.type == "cpu" and chosen not in ON_CPU:
        raise SpecError(f"{key} is {chosen}, which needs a GPU: set it to auto or one of {', '.join(ON_CPU)}", key)
    try:
        with torch.device("meta"):
            auto_class(config).from_config(
                copy.deepcopy(config), trust_remote_code=spec.model.trust_remote_code, attn_implementation=chosen
            )
    except (ImportError, ValueError) as error:
        if "attention" in str(error).lower():  # anything else, the loading says
            raise SpecError(
                f"{key} is {chosen}, which this model cannot use: {first_line(error)}: set it to auto", key
            ) from error


def _quantised(model: ModelSpec, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Return the options of LLM.int8 (https://arxiv.org/abs/2208.07339), or of QLoRA: NF4 weights with quantised
    constants (https://arxiv.org/abs/2305.14314).
    """
    quantization = (
        BitsAndBytesConfig(load_in_8bit=True)
        if model.load_in_8bit
        else BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    )
    return {"quantization_config": quantization, "device_map": {"": device}}


def _prepare_quantised(model: PreTrainedModel) -> None:
    """Convert the weights that are not quantised to float32, and keep gradients flowing through every layer."""
    from bitsandbytes.nn import Linear4bit

    prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    getLogger("bitsandbytes.autograd._functions").setLevel(ERROR)  # it repeats in every layer that it works in float16
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # On a CPU with AVX-512 an evaluation would pack the weights for inference, which stops gradients.
            module.support_avx512bf16_for_cpu = False


def _source(model: ModelSpec) -> dict[str, Any]:
    """Return transformers' arguments for a directory, or for a revision of a model of the hub."""
    directory = local_model_dir(model.path)
    if directory is not None:
        return {"pretrained_model_name_or_path": str(directory)}
    return {"pretrained_model_name_or_path": model.path, "revision": model.revision or MAIN}


def _reason(error: Exception, path: str) -> str:
    directory = local_model_dir(path)
    if directory is None:
        return NEEDS_CODE if "trust_remote_code" in str(error) else explain_hub_error(error, path, "a directory")
    if not directory.is_dir():
        return "the directory does not exist"
    if not any(directory.glob("*.safetensors")):
        return "it has no .safetensors weights, and other formats are not read as they may run code: convert them"
    if (directory / "adapter_config.json").is_file():
        return "it is an adapter: set model.path to its base model, and lora.initial_adapter to a copy of it on disk"
    if "trust_remote_code" in str(error):
        return NEEDS_CODE
    if isinstance(error, SafetensorError) or "mismatched" in str(error):
        return "its weights are damaged or do not match its config.json: copy or download the model again"
    return first_line(error)


def _check_causal(config: Any, path: str, trusted: bool) -> None:
    """Raise ModelError for a model of another kind, whose output head would have random weights."""
    if trusted and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if causal is None and _takes_images(config):
        causal = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES[config.model_type]
    names = config.architectures or [causal]
    has_decoder = causal in names or (
        any(name.endswith(DECODERS) for name in names) and not getattr(config, "is_encoder_decoder", False)
    )
    if causal is None or not has_decoder:
        raise not_causal(path, config.architectures or [config.model_type])


def embedded_tokens(config: PretrainedConfig) -> int | None:
    """Return the number of tokens that a model of `config` embeds, None if the config of its own code does not say."""
    size = getattr(config.get_text_config(), "vocab_size", None)
    return size if isinstance(size, int) else None


def check_vocabulary(
    rows: int, examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, model: ModelSpec
) -> None:
    """Raise ModelError if a token in `examples` is beyond the `rows` of the embedding of `model`."""
    largest = int(max(example.tokens.max() for example in examples))
    if largest >= rows:
        raise ModelError(
            f"model.path is {model.path!r}: its tokenizer gives token {largest}, "
            f"{tokenizer.convert_ids_to_tokens(largest)!r}, but the model embeds only {rows}: {LARGER_EMBEDDING}"
        )

"""The base model, its tokenizer, and the adapter on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
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

from engine.errors import ModelError, SpecError
from engine.preflight import (
    ALSO_TARGETS,
    TOKENIZER_FILES,
    check_4_bits,
    check_layers,
    check_positions,
    check_target_modules,
    local_model_dir,
)
from engine.spec import ModelSpec, Spec
from engine.training.dropout import use_quick_dropout
from engine.training.gates import fuse_gates
from engine.training.hub import explain, first_line
from engine.training.lora_linear import fuse_lora
from engine.training.norms import fuse_norms
from engine.training.pissa import Tensors, check_pissa, is_pissa, write_plain
from engine.training.rotary import fuse_rotary

MODEL_CARD = "README.md"
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
        fuse_gates(placed)
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
        return NEEDS_CODE if "trust_remote_code" in str(error) else explain(error, path, "a directory")
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


def add_adapter(model: Any, spec: Spec) -> torch.nn.Module:
    """`model` with a fresh LoRA adapter in float32 on it, ready to train.

    Raises:
        SpecError: a target module the model lacks; names those it has.
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
        if isinstance(module, LoraLayer):
            use_quick_dropout(module.lora_dropout)
        if isinstance(module, BaseTunerLayer):
            # Everything runs under autocast, which would take the float32 that peft makes of the input back at once.
            module.cast_input_dtype_enabled = False
    if model.device.type == "cpu":
        fuse_lora(adapted)
    adapted.train()
    return adapted


def _check_targets(wanted: tuple[str, ...], model: torch.nn.Module) -> None:
    """Raise SpecError if one of `wanted` is none of the modules that can take an adapter."""
    paths = [
        path
        for path, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)) or type(module).__name__ == "Conv1D"
    ]
    check_target_modules(wanted, frozenset(path.rpartition(".")[2] for path in paths) - ALSO_TARGETS)
    for name in wanted:
        # peft takes a name for the end of a module's path, and passes in silence over one that fits none.
        if not any(f".{path}".endswith(f".{name}") for path in paths):
            raise SpecError(
                f"lora.target_modules has {name!r}, which no module of this model is called: it has, for example, "
                f"{paths[1]}",
                "lora.target_modules",
            )


def _lora_config(spec: Spec) -> LoraConfig:
    lora, modules = spec.lora, spec.lora.target_modules
    # An adapter that adds nothing, so that the base model can be measured: PiSSA splits its weights only after that.
    adds_nothing = lora.init_lora_weights == "true" or is_pissa(spec)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        bias=lora.bias,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=True if adds_nothing else lora.init_lora_weights,
    )


def recompute_activations(model: Any, wanted: bool) -> None:
    """Have the adapted `model` keep its layers' inputs alone and compute the rest again on the way back, or not."""
    base = model.get_base_model()
    if wanted:
        base.activation_checkpointing_enable({"use_reentrant": False})  # their newer name for it
    elif base.is_activation_checkpointing:
        base.activation_checkpointing_disable()


def trainable_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """What is trained, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def save_adapter(model: Any, tokenizer: PreTrainedTokenizerBase, split_off: Tensors, directory: Path) -> None:
    """The adapter as peft loads it on the base model, weights as safetensors, and the tokenizer beside it.

    `split_off` is what PiSSA took from the base weights, empty without it.
    """
    model.save_pretrained(directory, safe_serialization=True, save_embedding_layers=False)
    (directory / MODEL_CARD).unlink(missing_ok=True)  # peft's own is an empty form
    if split_off:
        write_plain(directory, split_off)
    tokenizer.save_pretrained(directory)

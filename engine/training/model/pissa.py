"""PiSSA: the adapter starts as the largest singular values of the base weights, and the base keeps the residual.

Meng, Wang & Zhang 2024, https://arxiv.org/abs/2404.02948. The base is split in memory only. The written adapter is a
plain one of twice the rank that loads on the original base model: W + s·(B·A - B₀·A₀), where s·B₀·A₀ was subtracted
from the base, as peft converts it (its examples/pissa_finetuning). Both parts are read back from it bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from engine.errors import SpecError
from engine.preflight.checks import check_pissa_precision
from engine.spec.schema import Spec

Tensors = dict[str, torch.Tensor]
ADAPTER = "default"
WEIGHTS = "adapter_model.safetensors"


def is_pissa(spec: Spec) -> bool:
    """Return whether the round of `spec` splits the base weights."""
    return spec.lora.init_lora_weights.startswith("pissa")


def check_pissa(model: Any, spec: Spec) -> None:
    """Raise SpecError if an adapted weight cannot be split so that the adapter fits the original base model."""
    init, rank = spec.lora.init_lora_weights, spec.lora.r
    embedding = model.get_input_embeddings().weight
    for path, layer in _layers(model):
        name = path.removeprefix("base_model.model.")
        if hasattr(layer, "parameter_name"):
            raise SpecError(
                f"lora.init_lora_weights is {init}, which cannot split the experts in {name}: name other modules in "
                f"lora.target_modules, or set lora.init_lora_weights to true",
                "lora.init_lora_weights",
            )
        weight = layer.get_base_layer().weight
        check_pissa_precision(spec, str(weight.dtype).removeprefix("torch."))
        if weight is embedding or not layer.lora_A:
            raise SpecError(
                f"lora.init_lora_weights is {init}, which cannot split the embedding: take {name} out of "
                f"lora.target_modules, or set lora.init_lora_weights to true",
                "lora.init_lora_weights",
            )
        if rank > min(weight.shape):
            raise SpecError(
                f"lora.init_lora_weights is {init}, but {name} has only {min(weight.shape)} singular values: set "
                f"lora.r, which is {rank}, to at most that",
                "lora.r",
            )


def split_base(model: Any, init: str) -> Tensors:
    """Move the principal part of each adapted weight from the base to the fresh adapter.

    Returns:
        The initial adapter: A₀ [r, in] and B₀ [out, r] by their names in peft's state dict, on the CPU.
    """
    for _, layer in _layers(model):
        weight = layer.get_base_layer().weight
        whole = weight.data
        layer.pissa_init(ADAPTER, init)
        weight.data = whole
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    initial = {name: tensor.detach().cpu().clone() for name, tensor in state.items() if _halved_along(name) is not None}
    _subtract_adapter(model)
    return initial


def split_base_again(model: Any, initial: Tensors) -> None:
    """Subtract the same part from the base as `split_base` did in the run that is resumed."""
    set_peft_model_state_dict(model, initial)
    _subtract_adapter(model)


def _subtract_adapter(model: Any) -> None:
    with torch.no_grad():
        for _, layer in _layers(model):
            weight = layer.get_base_layer().weight
            weight.data = weight.data - layer.get_delta_weight(ADAPTER)


def write_plain(directory: Path, initial: Tensors) -> None:
    """Turn the adapter in `directory`, which fits the split base, into one that fits the whole base."""
    state = load_file(directory / WEIGHTS)
    for name, tensor in initial.items():
        axis = _halved_along(name)
        assert axis is not None
        state[name] = torch.cat([state[name], -tensor if axis else tensor], dim=axis)
    save_file(state, directory / WEIGHTS, metadata={"format": "pt"})
    config: Any = LoraConfig.from_pretrained(directory)
    config.r *= 2
    config.lora_alpha *= math.sqrt(2) if config.use_rslora else 2  # keeps the scaling
    config.save_pretrained(directory)


def read_plain(state: Tensors) -> tuple[Tensors, Tensors]:
    """Return (the adapter that fits the split base, the initial adapter) of what `write_plain` wrote."""
    current, initial = dict(state), {}
    for name, tensor in state.items():
        if (axis := _halved_along(name)) is not None:
            current[name], half = (part.contiguous() for part in tensor.chunk(2, dim=axis))
            initial[name] = -half if axis else half
    return current, initial


def _halved_along(name: str) -> int | None:
    """Return the axis along which a tensor holds the two adapters, None if it is not one of theirs."""
    return 0 if ".lora_A." in name else 1 if ".lora_B." in name else None


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    return ((path, module) for path, module in model.named_modules() if isinstance(module, LoraLayer))

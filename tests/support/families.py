"""Small models with random weights in the shape of the decoder families that people adapt with LoRA."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig

from tests.support.tiny_model import make_tokenizer

VOCABULARY = 400
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
# In the proportions of real models: of smaller ones, what a layer allocates for a moment is much of all.
SIZES: dict[str, Any] = {
    "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32, "moe_intermediate_size": 352, "n_embd": 256, "n_layer": 4, "n_head": 8,
    "query_pre_attn_scalar": 32, "sliding_window": 4096,
}  # fmt: skip
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
# Of each family: its `model_type`, and what its config needs beside `COMMON`.
FAMILIES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text())


def write_family(name: str, directory: Path) -> Path:
    """Write the model of that name and a tokenizer to `directory`."""
    config = config_of(**FAMILIES[name])
    torch.manual_seed(0)
    kind: Any = AutoModelForImageTextToText if "vision_config" in FAMILIES[name] else AutoModelForCausalLM
    model = kind.from_config(config, dtype=torch.float32)
    _spread(model)
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    if classes := FAMILIES[name].get("architectures"):  # as released, where transformers writes its own
        file = directory / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": classes}))
    return directory


def write_sized(name: str, directory: Path) -> Path:
    """Write the config and weights of a family in `SIZES`."""
    settings = FAMILIES[name] | SIZES
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config_of(**settings), dtype=torch.float32).save_pretrained(directory)
    return directory


def config_of(model_type: str, **settings: Any) -> PretrainedConfig:
    """Return a config with what `COMMON` and `settings` say of the fields that this family has, without dropout."""
    kind: Any = CONFIG_MAPPING[model_type]
    if "text_config" in settings:
        seeing: PretrainedConfig = kind(**settings | {"text_config": COMMON | TOKENS | settings["text_config"]})
        return seeing
    fields = {*getattr(kind, "__dataclass_fields__", {}), *inspect.signature(kind.__init__).parameters}
    fields |= {*getattr(kind, "attribute_map", {}), *TOKENS, "tie_word_embeddings"}
    values = {key: value for key, value in (COMMON | settings | TOKENS).items() if key in fields}
    config: PretrainedConfig = kind(**values)
    for key, value in list(vars(config).items()):
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
    return config


def _spread(model: torch.nn.Module) -> None:
    """Draw weights so wide that a wrong mask, position or scale shows in the loss."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        norm = any(word in name.lower() for word in ("norm", "ln_"))
        if parameter.ndim == 1 and (norm or name.endswith("bias") or "sinks" in name):
            parameter.data += 0.2 * noise if norm and name.endswith("weight") else 0.1 * noise
        elif parameter.ndim == 2 and any(word in name for word in ("embed", "wte", "wpe")):
            parameter.data = 0.6 * noise
        elif (parameter.ndim == 3 or (parameter.ndim == 2 and name.endswith("weight"))) and "conv" not in name.lower():
            parameter.data = 1.2 / math.sqrt(parameter.shape[-1]) * noise

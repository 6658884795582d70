"""Models of which only the config and the shapes of the weights exist, as a plan reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Shapes = dict[str, tuple[int, ...]]
TINYLLAMA = {  # https://huggingface.co/TinyLlama/TinyLlama-1.1B-Chat-v1.0/blob/main/config.json
    "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
    "num_key_value_heads": 4, "vocab_size": 32000,
}  # fmt: skip


def write_shapes(directory: Path, shapes: Mapping[str, Sequence[int]], config: dict[str, Any]) -> Path:
    """Write a safetensors file that is a header alone, and a config."""
    header = json.dumps({
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()
    }).encode()  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text("{}")
    return directory


def write_llama_shapes(directory: Path, *, tied: bool = False, **sizes: int) -> Path:
    """Write a Llama of these sizes, by default TinyLlama's."""
    config: dict[str, Any] = TINYLLAMA | sizes
    width, inner, vocabulary = (config[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    keys = width // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}
    if not tied:
        shapes["lm_head.weight"] = (vocabulary, width)
    for layer in range(config["num_hidden_layers"]):
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        shapes |= {f"{attention}.{name}_proj.weight": (width, width) for name in "qo"}
        shapes |= {f"{attention}.{name}_proj.weight": (keys, width) for name in "kv"}
        shapes |= {f"{mlp}.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes |= {f"{mlp}.down_proj.weight": (width, inner)}
        shapes |= {f"model.layers.{layer}.{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
    kind = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu"}
    return write_shapes(directory, shapes, config | kind | {"tie_word_embeddings": tied})

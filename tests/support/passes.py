"""Small models of several families, and plain forward and backward passes through them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen3Config,
)

from engine.training.data.tokenize import Example
from engine.training.kernels.head_loss import autocast
from engine.training.kernels.replacement import Site, replace_where_equal
from engine.training.model.adapter import trainable_parameters
from tests.support.rounds_to_train import make_example

CPU = torch.device("cpu")
VOCABULARY = 97
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
FAMILIES = {
    "llama": LlamaConfig(**SMALL),
    "qwen3": Qwen3Config(**SMALL, head_dim=8),
    "mistral": MistralConfig(**SMALL, sliding_window=None),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, resid_pdrop=0.0,
                       embd_pdrop=0.0, attn_pdrop=0.0),
    "gemma2": Gemma2Config(**SMALL, head_dim=8, sliding_window=16, query_pre_attn_scalar=8),
}  # fmt: skip
TARGETS = {"gpt2": ["c_attn", "c_fc"]}


def adapted(
    config: PretrainedConfig,
    targets: str | list[str] = "all-linear",
    dtype: torch.dtype = torch.float32,
    dropout: float = 0.0,
) -> Any:
    """Return a model of random weights whose adapter is not zero."""
    torch.manual_seed(0)
    # Drawn in float32, as torch would draw other weights in another precision.
    base: Any = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32).to(dtype)
    model = get_peft_model(
        base,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=4,
            target_modules=targets,
            lora_dropout=dropout,
            fan_in_fan_out=isinstance(config, GPT2Config),
        ),
    )
    for parameter in trainable_parameters(model):
        parameter.data = torch.randn_like(parameter, dtype=torch.float32) * 0.1
    return model.train()


def rows_of(*lengths: int) -> list[Example]:
    """Return rows of random tokens; about two thirds of each are supervised."""
    generator = torch.Generator().manual_seed(3)
    return [
        make_example(torch.randint(VOCABULARY, (length,), generator=generator).tolist(), length // 3)
        for length in lengths
    ]


def plain_nll(model: Any, rows: list[Example]) -> torch.Tensor:
    """Return the summed loss of rows one at a time from all logits, without the engine's code."""
    total = torch.zeros(())
    for row in rows:
        logits = model(input_ids=row.tokens.long()[None], use_cache=False).logits[0, :-1]
        supervised = row.supervised[1:]
        total = total + functional.cross_entropy(
            logits[supervised].float(), row.tokens[1:][supervised].long(), reduction="sum"
        )
    return total


def gradients_of(model: Any, nll: torch.Tensor) -> torch.Tensor:
    """Return all gradients in one vector."""
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(nll, trainable_parameters(model))])


def replace_operation(sites_of: Callable[[Any], Sequence[Site]], model: Any, dtype: torch.dtype = torch.float32) -> int:
    """Replace one operation in a whole model where that gives the same; return in how many places."""
    tokens = torch.arange(24)[None].to(model.device)

    def precision() -> AbstractContextManager[object]:
        return autocast(model.device, dtype)

    def forward() -> None:
        with precision():
            model(input_ids=tokens, use_cache=False)

    return len(replace_where_equal(sites_of(model), forward, precision).sites)


def replace_in_module(
    sites_of: Callable[[Any], Sequence[Site]], module: Any, hidden: torch.Tensor, dtype: torch.dtype = torch.float32
) -> int:
    """Do the same in a module that takes `hidden`."""

    def precision() -> AbstractContextManager[object]:
        return autocast(CPU, dtype)

    def forward() -> None:
        with precision():
            module(hidden)

    return len(replace_where_equal(sites_of(module), forward, precision).sites)


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).detach().norm() / theirs.detach().norm())

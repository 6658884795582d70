"""The table of the operations of a model that are replaced by faster ones, and the rows that they are tried on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from engine.training.data.batching import Batch, pad
from engine.training.data.tokenize import Example
from engine.training.kernels.dropout import dropout_sites
from engine.training.kernels.head_loss import autocast
from engine.training.kernels.lora_linear import lora_sites
from engine.training.kernels.packed_attention import PACKED_ATTENTION
from engine.training.kernels.replacement import Replacements, Site, replace_where_equal
from engine.training.kernels.rms_norm import norm_sites
from engine.training.kernels.rotary import rotary_sites
from engine.training.kernels.swiglu import swiglu_sites

# In the order in which they are tried; the types of device are those on which each was measured.
OPERATIONS: tuple[tuple[Callable[[torch.nn.Module], Sequence[Site]], frozenset[str]], ...] = (
    (dropout_sites, frozenset({"cpu"})),
    (lora_sites, frozenset({"cpu"})),
    (norm_sites, frozenset({"cpu", "cuda"})),
    (rotary_sites, frozenset({"cpu", "cuda"})),
    (swiglu_sites, frozenset({"cpu", "cuda"})),
)
TOKENS = 8


def replace_operations(model: Any, device: torch.device, dtype: torch.dtype, longest: int) -> Replacements:
    """Replace the operations of `model` that are faster so, where the results and gradients are its own.

    `longest` is the longest row in tokens.
    """
    sites = [site for sites_of, devices in OPERATIONS if device.type in devices for site in sites_of(model)]
    batch = pad([random_row(model, min(TOKENS, longest), 0)], device)
    PACKED_ATTENTION.set_rows(batch)

    def forward() -> None:
        with autocast(device, dtype):
            model(**inputs_of(batch))

    return replace_where_equal(sites, forward, lambda: autocast(device, dtype))


def random_row(model: Any, length: int, seed: int) -> Example:
    """Return a row of random tokens, all supervised but the first."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = model.config.get_text_config().vocab_size
    tokens = torch.randint(vocabulary, (length,), generator=generator).int()
    return Example(tokens, torch.arange(length) > 0)


def inputs_of(batch: Batch) -> dict[str, Any]:
    """Return the arguments of a model's forward pass without a cache."""
    inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
    return inputs if batch.attention_mask is None else inputs | {"attention_mask": batch.attention_mask}

"""The negative log-likelihood of the supervised tokens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn import functional

from engine.training.batches import Batch


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Compute in the base model's half precision while the adapter stays in float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def token_nll(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Sum of the negative log-likelihood of `batch.targets`, in nats, a float32 scalar.

    Logits are computed where a supervised token is predicted and nowhere else (transformers' `logits_to_keep` with
    a mask). No cache is kept: with one, attention would also see what it must not.
    """
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        use_cache=False,
        logits_to_keep=batch.predicts,
    ).logits
    return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")

"""Perplexity over the held-out rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.training.batches import collate, token_batches
from engine.training.data import Example
from engine.training.loss import autocast, token_nll

PADDED_TOKENS = 4096


@dataclass(frozen=True)
class Evaluation:
    """Mean negative log-likelihood per supervised token, in nats, and how many tokens it is the mean of."""

    eval_loss: float
    supervised_tokens: int

    @property
    def perplexity(self) -> float | None:
        """exp(eval_loss); None where that is no finite number."""
        try:
            value = math.exp(self.eval_loss)
        except OverflowError:
            return None
        return value if math.isfinite(value) else None


def evaluate(
    model: torch.nn.Module,
    examples: Sequence[Example],
    device: torch.device,
    dtype: torch.dtype,
    progress: Callable[[int, int], None],
) -> Evaluation:
    """Sum of token NLL ÷ supervised tokens: independent of how rows are batched, as no mean of means is taken.

    `progress(done, total)` is told the rows after each batch and may raise to end the evaluation.
    """
    was_training = model.training
    model.eval()
    total, tokens, done = 0.0, 0, 0
    try:
        with torch.inference_mode(), autocast(device, dtype):
            for rows in token_batches(examples, PADDED_TOKENS):
                batch = collate(rows, device)
                total += token_nll(model, batch).item()
                tokens += len(batch.targets)
                done += len(rows)
                progress(done, len(examples))
    finally:
        model.train(was_training)
    return Evaluation(total / tokens, tokens)

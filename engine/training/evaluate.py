"""Perplexity over the held-out rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.training.data import Example
from engine.training.forward import Forward


@dataclass(frozen=True)
class Evaluation:
    """Mean negative log-likelihood per supervised token, in nats, and how many tokens it is the mean of."""

    eval_loss: float
    supervised_tokens: int

    @property
    def perplexity(self) -> float:
        """exp(eval_loss), infinite where no float holds it."""
        try:
            return math.exp(self.eval_loss)
        except OverflowError:
            return math.inf


def evaluate(
    forward: Forward, examples: Sequence[Example], tokens: int, progress: Callable[[int, int], None]
) -> Evaluation:
    """Sum of token NLL ÷ supervised tokens: independent of how rows are batched, as no mean of means is taken.

    `tokens` go through the model at once. `progress(done, total)` is told the rows after each batch and may raise to
    end the evaluation.
    """
    was_training = forward.model.training
    forward.model.eval()
    total, counted, done = 0.0, 0, 0
    try:
        with torch.inference_mode():
            for rows in forward.slices_of(examples, tokens):
                batch = forward.batch(rows)
                total += forward.nll(batch).item()
                counted += len(batch.targets)
                done += len(rows)
                progress(done, len(examples))
    finally:
        forward.model.train(was_training)
    return Evaluation(total / counted, counted)

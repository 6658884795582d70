"""Perplexity of a model on the held-out rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.runs.scores import Scores
from engine.training.data.tokenize import Example
from engine.training.model.forward import Forward


@dataclass(frozen=True)
class Evaluation:
    """Scores of the examples, in their order.

    Attributes:
        nlls: sum of the negative log-likelihood of an example's supervised tokens, in nats.
        tokens: number of supervised tokens of each example.
    """

    nlls: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def eval_loss(self) -> float:
        """Mean negative log-likelihood per supervised token, in nats; infinite where no float holds it."""
        try:
            return math.fsum(self.nlls) / sum(self.tokens)
        except OverflowError:
            return math.inf

    @property
    def supervised_tokens(self) -> int:
        return sum(self.tokens)

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
    """Score each example, independent of how rows are batched; after an error once more by the model's own code.

    Args:
        tokens: the most that go through the model at once, a single longer row aside.
        progress: called with (rows done, rows in all) after each batch; may raise to end the evaluation.
    """
    try:
        return _evaluate(forward, examples, tokens, progress)
    except Exception as error:
        if not forward.fall_back(error):
            raise
    return _evaluate(forward, examples, tokens, progress)


def _evaluate(
    forward: Forward, examples: Sequence[Example], tokens: int, progress: Callable[[int, int], None]
) -> Evaluation:
    was_training = forward.model.training
    forward.model.eval()
    nlls: dict[int, float] = {}
    try:
        with torch.inference_mode():
            for rows in forward.slices_of(examples, tokens):
                counts = [row.supervised_tokens for row in rows]
                # [supervised tokens] of each row
                parts = forward.token_nlls(forward.batch(rows)).double().cpu().split(counts)
                nlls |= {id(row): part.sum().item() for row, part in zip(rows, parts, strict=True)}
                progress(len(nlls), len(examples))
    finally:
        forward.model.train(was_training)
    return Evaluation(tuple(nlls[id(row)] for row in examples), tuple(row.supervised_tokens for row in examples))


def scores_of(evaluation: Evaluation, examples: Sequence[Example]) -> Scores:
    """Return the stored form of an evaluation of these examples."""
    return Scores(
        examples=tuple(map(example_hash, examples)),
        tokens=evaluation.tokens,
        nlls=tuple(nll if math.isfinite(nll) else None for nll in evaluation.nlls),
    )


def example_hash(example: Example) -> str:
    """Return a hash of the tokens and of which of them are supervised."""
    content = example.tokens.numpy().tobytes() + example.supervised.numpy().tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()

"""Which rows go into which step, and how rows become tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from engine.training.data import Example


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right to the longest.

    Attributes:
        input_ids: int64 [rows, length].
        attention_mask: int64 [rows, length], 0 on padding, which is told by length and never by token.
        predicts: bool [rows, length], True where the next token is supervised.
        targets: int64 [supervised tokens], the tokens so predicted, row by row.
        tokens: how many are no padding.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    predicts: torch.Tensor
    targets: torch.Tensor
    tokens: int


def collate(examples: Sequence[Example], device: torch.device) -> Batch:
    """Examples as one batch on `device`."""
    shape = len(examples), max(map(len, examples))
    input_ids = torch.zeros(shape, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    predicts = torch.zeros(shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        length = len(example)
        input_ids[row, :length] = example.tokens
        attention_mask[row, :length] = 1
        predicts[row, : length - 1] = example.supervised[1:]
    targets = torch.cat([example.tokens[example.supervised] for example in examples]).long()
    return Batch(
        input_ids.to(device),
        attention_mask.to(device),
        predicts.to(device),
        targets.to(device),
        sum(map(len, examples)),
    )


def step_rows(step: int, rows: int, effective_batch: int, seed: int) -> list[int]:
    """Indices of the rows of optimizer step `step` (from 1): each epoch is a fresh shuffle, its last step may be short.

    It follows from the step alone, so a resumed run sees the rows an uninterrupted one would.
    """
    steps_per_epoch = -(-rows // effective_batch)
    epoch, position = divmod(step - 1, steps_per_epoch)
    generator = torch.Generator().manual_seed((seed + epoch * 1_000_003) % 2**63)
    order = torch.randperm(rows, generator=generator).tolist()
    return [int(index) for index in order[position * effective_batch : (position + 1) * effective_batch]]


def micro_batches(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """Slices of at most `size` rows of one step, of like length, so that little is padded.

    The gradient of the step does not depend on how it is sliced, as its loss is divided by the supervised tokens of
    the whole step.
    """
    ordered = sorted(examples, key=len)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def token_batches(examples: Sequence[Example], padded_tokens: int) -> Iterator[list[Example]]:
    """Batches of like length with at most `padded_tokens` tokens each, padding included, or a single row."""
    batch: list[Example] = []
    for example in sorted(examples, key=len):
        if batch and len(example) * (len(batch) + 1) > padded_tokens:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch

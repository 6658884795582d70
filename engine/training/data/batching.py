"""The rows of each step, their division into micro-batches, and their packing into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from engine.system.training_memory import LENGTHS_PER_OCTAVE, rounded_up
from engine.training.data.tokenize import Example


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as tensors for one pass through a model: packed, one after the other, or padded to the longest.

    Attributes:
        input_ids, position_ids: int64, [1, tokens] if packed, [rows, longest] if padded.
        attention_mask: int64 [rows, longest], 0 on padding, whatever its token; None if packed.
        row_lengths: tokens of each row if packed; their sum is tokens. Empty if padded.
        row_starts: int32 [rows + 1], the start of each packed row and the end of the last, on the device; else None.
        longest: tokens of the longest packed row; 0 if padded.
        logit_positions: int64 [supervised tokens], positions in the flattened `input_ids` that predict `targets`.
        targets: int64 [supervised tokens], the supervised tokens.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    row_lengths: tuple[int, ...]
    row_starts: torch.Tensor | None
    longest: int
    logit_positions: torch.Tensor
    targets: torch.Tensor


def pack(examples: Sequence[Example], device: torch.device) -> Batch:
    """Put rows one after the other, without padding between them.

    On a CPU one row of padding follows, at most a sixteenth as long as the rest: oneDNN builds its kernels again for
    every new length, which costs more than the few tokens that make lengths repeat.
    """
    lengths = tuple(map(len, examples))
    filler = rounded_up(sum(lengths), LENGTHS_PER_OCTAVE) - sum(lengths) if device.type == "cpu" else 0
    tokens = torch.cat([example.tokens for example in examples]).long()  # [tokens]
    supervised = torch.cat([example.supervised for example in examples])  # [tokens]
    if filler:
        lengths = (*lengths, filler)
    starts = functional.pad(torch.tensor(lengths).cumsum(0), (1, 0))  # [rows + 1], with the filler's
    positions = torch.arange(sum(lengths)) - starts[:-1].repeat_interleave(torch.tensor(lengths))  # [tokens + filler]
    positions %= max(map(len, examples))  # the filler has none beyond those of the rows
    return Batch(
        _to(functional.pad(tokens, (0, filler))[None], device),
        _to(positions[None], device),
        None,
        lengths,
        _to(starts.int(), device),
        max(lengths),
        _to(supervised.nonzero()[:, 0] - 1, device),
        _to(tokens[supervised], device),
    )


def pad(examples: Sequence[Example], device: torch.device) -> Batch:
    """Put rows side by side, padded on the right to the longest, for a model that cannot take them packed."""
    lengths = torch.tensor([len(example) for example in examples])  # [rows]
    positions = torch.arange(int(lengths.max()))  # [longest]
    # [rows, longest] each
    input_ids = torch.nn.utils.rnn.pad_sequence([example.tokens for example in examples], batch_first=True).long()
    supervised = torch.nn.utils.rnn.pad_sequence([example.supervised for example in examples], batch_first=True)
    return Batch(
        _to(input_ids, device),
        _to(positions.expand_as(input_ids), device),
        _to((positions < lengths[:, None]).long(), device),
        (),
        None,
        0,
        _to(supervised.flatten().nonzero()[:, 0] - 1, device),
        _to(input_ids[supervised], device),
    )


def _to(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy to `device`; from pinned memory, so that the CPU does not wait for a GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)  # an expanded tensor cannot be pinned


def step_rows(step: int, rows: int, effective_batch: int, seed: int) -> list[int]:
    """Return the indices of the rows of step `step`, from 1; each epoch is shuffled, and its last step may be short.

    They depend on the step alone, so a resumed run trains on the same rows as an uninterrupted one.
    """
    steps_per_epoch = -(-rows // effective_batch)
    epoch, position = divmod(step - 1, steps_per_epoch)
    generator = torch.Generator().manual_seed((seed + epoch * 1_000_003) % 2**63)
    order = torch.randperm(rows, generator=generator).tolist()
    return [int(index) for index in order[position * effective_batch : (position + 1) * effective_batch]]


# The gradient of a step does not depend on its division into micro-batches, as the loss of each is divided by the
# supervised tokens of the whole step.


def slices_of(examples: Sequence[Example], rows: int) -> list[list[Example]]:
    """Divide into micro-batches of `rows` rows in order; the last may be smaller."""
    return [list(examples[start : start + rows]) for start in range(0, len(examples), rows)]


def packs_of(examples: Sequence[Example], tokens: int) -> list[list[Example]]:
    """Divide into few micro-batches of even size, at most `tokens` tokens each; a longer row is one by itself.

    Rows go, the longest first, into the micro-batch with the fewest tokens (R. L. Graham, Bounds on Multiprocessing
    Timing Anomalies, 1969).
    """
    longest_first = sorted(examples, key=len, reverse=True)
    total = sum(map(len, examples))
    for count in range(min(len(examples), -(-total // tokens)), len(examples) + 1):
        packs: list[list[Example]] = [[] for _ in range(count)]
        sizes = [0] * count
        for example in longest_first:
            smallest = sizes.index(min(sizes))
            packs[smallest].append(example)
            sizes[smallest] += len(example)
        if all(size <= tokens or len(pack) == 1 for size, pack in zip(sizes, packs, strict=True)):
            break
    return packs


def padded_batches_of(examples: Sequence[Example], tokens: int) -> list[list[Example]]:
    """Divide into micro-batches of similar rows, at most `tokens` tokens each with padding, or a single row."""
    batches: list[list[Example]] = [[]]
    for example in sorted(examples, key=len):
        if batches[-1] and len(example) * (len(batches[-1]) + 1) > tokens:
            batches.append([])
        batches[-1].append(example)
    return batches

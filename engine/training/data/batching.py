"""Which rows go into which step, how a step is sliced, and how rows become tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from engine.training.data.tokenize import Example


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows laid out for one pass through a model: packed, one after the other, or padded to the longest.

    Attributes:
        input_ids, position_ids: int64, [1, tokens] if packed, [rows, longest] if padded.
        attention_mask: int64 [rows, longest], 0 on padding, which is told by length and never by token; None if packed.
        row_lengths: tokens of each row if packed, adding up to all; empty if padded.
        row_starts: int32 [rows + 1], where each packed row starts and the last one ends, on the device.
        longest: tokens of the longest packed row; 0 if padded.
        predicts: int64 [supervised tokens], the places in the flattened `input_ids` whose next token is supervised.
        targets: int64 [supervised tokens], the tokens so predicted.
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
    """Rows one after the other, none padded.

    On a CPU a row of nothing follows, at most a sixteenth as long as the rest: oneDNN builds its kernels anew for every
    length it has not seen, which costs more than the few tokens that make lengths repeat.
    """
    lengths = tuple(map(len, examples))
    filler = rounded_up(sum(lengths), 16) - sum(lengths) if device.type == "cpu" else 0
    tokens = torch.cat([example.tokens for example in examples]).long()
    supervised = torch.cat([example.supervised for example in examples])
    if filler:
        lengths = (*lengths, filler)
    starts = functional.pad(torch.tensor(lengths).cumsum(0), (1, 0))
    positions = torch.arange(sum(lengths)) - starts[:-1].repeat_interleave(torch.tensor(lengths))
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


def rounded_up(tokens: int, to_the_octave: int) -> int:
    """The next of the lengths that are so many to the octave, a power of two, and lie as far apart within each."""
    apart = 2 ** max(0, int(math.log2(tokens)) - int(math.log2(to_the_octave)))
    return int(-(-tokens // apart) * apart)


def pad(examples: Sequence[Example], device: torch.device) -> Batch:
    """Rows side by side, padded on the right to the longest, for a model that cannot take them packed."""
    lengths = torch.tensor([len(example) for example in examples])
    places = torch.arange(int(lengths.max()))
    input_ids = torch.nn.utils.rnn.pad_sequence([example.tokens for example in examples], batch_first=True).long()
    supervised = torch.nn.utils.rnn.pad_sequence([example.supervised for example in examples], batch_first=True)
    return Batch(
        _to(input_ids, device),
        _to(places.expand_as(input_ids), device),
        _to((places < lengths[:, None]).long(), device),
        (),
        None,
        0,
        _to(supervised.flatten().nonzero()[:, 0] - 1, device),
        _to(input_ids[supervised], device),
    )


def _to(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On `device`; from pinned memory the copy to a GPU does not hold the CPU up."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)  # of an expanded one nothing can be pinned


def step_rows(step: int, rows: int, effective_batch: int, seed: int) -> list[int]:
    """Indices of the rows of optimizer step `step` (from 1): each epoch is a fresh shuffle, its last step may be short.

    It follows from the step alone, so a resumed run sees the rows an uninterrupted one would.
    """
    steps_per_epoch = -(-rows // effective_batch)
    epoch, position = divmod(step - 1, steps_per_epoch)
    generator = torch.Generator().manual_seed((seed + epoch * 1_000_003) % 2**63)
    order = torch.randperm(rows, generator=generator).tolist()
    return [int(index) for index in order[position * effective_batch : (position + 1) * effective_batch]]


# The gradient of a step does not depend on how it is sliced, as its loss is divided by the supervised tokens of the
# whole step.


def slices_of(examples: Sequence[Example], rows: int) -> list[list[Example]]:
    """Slices of `rows` rows as they come, the last one of what is left."""
    return [list(examples[start : start + rows]) for start in range(0, len(examples), rows)]


def packs_of(examples: Sequence[Example], tokens: int) -> list[list[Example]]:
    """As few slices as hold `tokens` tokens each, as even as they get; a row longer than that is a slice by itself.

    The longest row is placed first, each into the slice that is emptiest (R. L. Graham, Bounds on Multiprocessing
    Timing Anomalies, 1969).
    """
    longest_first = sorted(examples, key=len, reverse=True)
    total = sum(map(len, examples))
    for count in range(min(len(examples), -(-total // tokens)), len(examples) + 1):
        packs: list[list[Example]] = [[] for _ in range(count)]
        filled = [0] * count
        for example in longest_first:
            emptiest = filled.index(min(filled))
            packs[emptiest].append(example)
            filled[emptiest] += len(example)
        if all(full <= tokens or len(pack) == 1 for full, pack in zip(filled, packs, strict=True)):
            break
    return packs


def padded_batches_of(examples: Sequence[Example], tokens: int) -> list[list[Example]]:
    """Slices of like length with at most `tokens` tokens each, padding included, or a single row."""
    batches: list[list[Example]] = [[]]
    for example in sorted(examples, key=len):
        if batches[-1] and len(example) * (len(batches[-1]) + 1) > tokens:
            batches.append([])
        batches[-1].append(example)
    return batches

"""Correct what is counted for a round by what finished rounds of this machine took: its peak memory, and its time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

import msgspec
from msgspec import Struct

from engine.planning.accuracy import peak_ratio
from engine.planning.devices import Device, was_on
from engine.planning.memory import MemoryNeed, bytes_of_a_number
from engine.preflight.base_model import read_config
from engine.preflight.families import family_of
from engine.preflight.hub_shapes import directory_with_shapes
from engine.spec.round import Round
from engine.spec.schema import Spec

FEWEST_ROUNDS = 3  # of which one that is far off does not move the median far
LAST_ROUNDS = 10
LEAST, MOST = 0.5, 2.0  # a ratio beyond them is no matter of counting


class MemoryCorrection(Struct, frozen=True):
    """The factor by which the counted peak memory of a round is multiplied.

    Attributes:
        ratio: the median of what finished rounds took by what was counted for them.
        rounds: the numbers of these rounds.
        counted: bytes of the peak without the correction.
    """

    ratio: float
    rounds: tuple[int, ...]
    counted: int


def family_and_bits(spec: Spec, device: Device) -> tuple[str, int]:
    """Return the `model_type` of the base model, "" where it is not known, and the bits of a weight as it is held."""
    directory = directory_with_shapes(spec.model)
    family = family_of(read_config(directory)) if directory is not None else ""
    if spec.model.load_in_4bit or spec.model.load_in_8bit:
        return family, 4 if spec.model.load_in_4bit else 8
    return family, 8 * bytes_of_a_number(spec, device)


def correction_of(
    need: MemoryNeed | None, spec: Spec, device: Device, rounds: Iterable[Round]
) -> MemoryCorrection | None:
    """Return the correction of the peak of `need`, by the last `rounds` on `device` with the same family and precision.

    A peak by the lengths of the rows is corrected by such ones, a bound by such ones.

    It is None with fewer than `FEWEST_ROUNDS`, and for a round that does not fit or whose peak is not known.
    """
    if need is None or need.peak is None or not need.verdict.startswith("fits"):
        return None
    model = (*family_and_bits(spec, device), need.knows_lengths)
    ratios = {
        round_.number: ratio
        for round_ in rounds
        if was_on(device, round_) and _model_of(round_) == model and (ratio := peak_ratio(round_)) is not None
    }
    learned = learned_ratio(ratios)
    return MemoryCorrection(*learned, need.peak) if model[0] and learned is not None else None


def learned_ratio(ratios: Mapping[int, float]) -> tuple[float, tuple[int, ...]] | None:
    """Return the median of what the last rounds took by what was counted for them, and the numbers of these rounds.

    `ratios` are those of finished rounds by their numbers, the last one last. With fewer than `FEWEST_ROUNDS` it is
    None.
    """
    last = tuple(ratios)[-LAST_ROUNDS:]
    if len(last) < FEWEST_ROUNDS:
        return None
    return min(max(median(ratios[number] for number in last), LEAST), MOST), last


def corrected(need: MemoryNeed | None, correction: MemoryCorrection | None) -> MemoryNeed | None:
    """Return `need` with its peak corrected: no lower than a single row needs, no higher than what is free.

    The verdict stays, which is that of the engine's own rule.
    """
    if need is None or correction is None:
        return need
    highest = max(need.free, correction.counted)
    peak = min(max(round(correction.ratio * correction.counted), need.least), highest)
    return msgspec.structs.replace(need, peak=peak)


def _model_of(round_: Round) -> tuple[str, int | None, bool]:
    """Return the family and the bits for which the memory of a round was counted, and whether by its rows' lengths."""
    predicted = round_.predicted
    return ("", None, False) if predicted is None else (predicted.family, predicted.bits, predicted.tokens is not None)

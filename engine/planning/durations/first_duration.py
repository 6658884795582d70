"""Foretell how long a round takes where none like it has finished: its operations, at the rate that is to be expected.

That is the rate of finished rounds of the same family, about the same size and the same precision on this device.
Without one it is a share of the rate of matrix products, which is tried on a processor, and published by the maker of a
card; corrected by what rounds of other families took here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from statistics import median
from typing import TypeAlias

from msgspec import Struct

from engine.planning.corrections import learned_ratio
from engine.planning.devices import Device, was_on
from engine.planning.durations.duration import Duration, evaluations_of, rows_seen, seconds_of_steps
from engine.planning.durations.operations import Operations, operations_of
from engine.planning.memory import bytes_of_a_number
from engine.planning.row_lengths import TrainedRows
from engine.preflight.adapter_size import AdapterSize
from engine.preflight.base_model import read_config
from engine.preflight.families import family_of
from engine.preflight.hub_shapes import directory_with_shapes
from engine.spec.lora import LoraSpec
from engine.spec.plan import Plan
from engine.spec.round import Round, Status
from engine.spec.schema import ModelSpec, Spec
from engine.system.matrix_rate import Precision

LAST_ROUNDS = 5
NEWEST_ROUNDS = 1000  # of which the last are looked for: a key in the form does not wait for ten thousand
# Of the rate of matrix products that training reached: SmolLM2 on two processors 0.41 and 0.79, TinyLlama on an H200
# 0.24 to 0.36 of the published one (benchmarks/RESULTS.md).
PROCESSOR_SHARE, CARD_SHARE = 0.5, 0.3
BY_ROUNDS, BY_MATRICES = 1.35, 2.0  # factors that it may be off by
START_SECONDS = 12.0  # imports, loading and first passes, as benchmarks/RESULTS.md has them
USUAL_CONTEXT, USUAL_SUPERVISED = 1.3, 0.5  # of the mean length, and of the tokens: what a finished round does not tell
ALIKE_SIZE = 4.0  # a model that much larger or smaller reaches another share of what a device can
Model: TypeAlias = tuple[str, Operations]
Reader: TypeAlias = Callable[[ModelSpec, LoraSpec], Model | None]


class _Basis(Struct, frozen=True):
    """The operations in a second that a time is reckoned by, as `Duration` has it, and the factor it may be off by."""

    rate: float
    factor: float
    rounds: tuple[int, ...]
    correction: float | None = None


def first_duration(
    spec: Spec,
    plan: Plan,
    device: Device,
    rows: TrainedRows | None,
    rounds: Sequence[Round] = (),
    matrix_rate: float | None = None,
    adapter: AdapterSize | None = None,
) -> Duration | None:
    """Return how long `spec` takes on `device` by its operations; None where rows, model or a rate are not known.

    `matrix_rate` is the operations of matrix products that this processor computes in a second, None if that was not
    tried. `adapter` is the size of the adapter where the caller knows it.
    """
    if rows is None or rows.tokens is None or (model := _model_of(spec.model, spec.lora, adapter)) is None:
        return None
    _, operations = model
    read = cache(_model_of)  # rounds share models; between two calls their files may change
    basis = _basis(spec, model, device, rounds, matrix_rate, read)
    if basis is None:
        return None
    recompute = spec.train.gradient_checkpointing is True
    steps = rows.tokens * operations.training(rows.context, rows.supervised, recompute=recompute) / basis.rate
    held_out = (plan.eval_samples or 0) * rows.mean * evaluations_of(plan)
    evaluations = held_out * operations.evaluation(rows.context, rows.supervised) / basis.rate
    seconds = START_SECONDS + steps + evaluations
    low = START_SECONDS / 2 + (steps + evaluations) / basis.factor
    high = 2 * START_SECONDS + (steps + evaluations) * basis.factor
    return Duration(
        seconds, (low, high), steps, basis.rounds, start=START_SECONDS, evaluations=evaluations, is_first=True,
        correction=basis.correction,
    )  # fmt: skip


def precision_on(device: Device, spec: Spec) -> Precision:
    """Return the precision of the matrix products of `spec` on a processor."""
    return "bfloat16" if bytes_of_a_number(spec, device) == 2 else "float32"


def _basis(
    spec: Spec, model: Model, device: Device, rounds: Sequence[Round], matrix_rate: float | None, read: Reader
) -> _Basis | None:
    """Return the rate of the last rounds of the same family, or else the one that follows from matrix products.

    The rate of a family holds all that makes its rounds slower than the guess, so that it is not corrected.
    """
    rates = {True: dict[int, float](), False: dict[int, float]()}
    for number, family, rate in _rates(spec, model[1], device, rounds, read):
        rates[family == model[0]][number] = rate
    own, others = rates[True], rates[False]
    if own:
        last = tuple(own)[-LAST_ROUNDS:]
        return _Basis(median(own[number] for number in last), BY_ROUNDS, last)
    of_matrices = device.operations if device.is_gpu else matrix_rate
    if of_matrices is None:
        return None
    expected = of_matrices * (CARD_SHARE if device.is_gpu else PROCESSOR_SHARE)
    learned = learned_ratio({number: expected / rate for number, rate in others.items()})
    if learned is None:
        return _Basis(expected, BY_MATRICES, ())
    ratio, numbers = learned
    return _Basis(expected / ratio, BY_MATRICES, numbers, ratio)


def _rates(
    spec: Spec, operations: Operations, device: Device, rounds: Sequence[Round], read: Reader
) -> Iterator[tuple[int, str, float]]:
    """Yield number and family of the finished rounds on `device` with a model of about this size in the same precision.

    With them come the operations that their steps computed in a second.
    """
    for round_ in rounds[-NEWEST_ROUNDS:]:
        if round_.status is not Status.FINISHED or not was_on(device, round_):
            continue
        model = read(round_.spec.model, round_.spec.lora) if _precision(round_.spec) == _precision(spec) else None
        if model is None or not _have_alike_sizes(model[1], operations):
            continue
        if (rate := _rate_of(round_, model[1])) is not None:
            yield round_.number, model[0], rate


def _have_alike_sizes(first: Operations, second: Operations) -> bool:
    smaller, larger = sorted((first.matrices, second.matrices))
    return larger <= ALIKE_SIZE * smaller


def _precision(spec: Spec) -> tuple[object, ...]:
    return spec.model.dtype, spec.model.load_in_4bit, spec.model.load_in_8bit


def _model_of(model: ModelSpec, lora: LoraSpec, adapter: AdapterSize | None = None) -> Model | None:
    """Return family and operations of a model with its adapter, None where they are not known here."""
    directory = directory_with_shapes(model)
    operations = operations_of(directory, lora, adapter) if directory is not None else None
    return (family_of(read_config(directory)), operations) if directory is not None and operations is not None else None


def _rate_of(round_: Round, operations: Operations) -> float | None:
    """Return the operations that the steps of a finished round computed in a second, None where that is not known."""
    seconds, seen, tokens = seconds_of_steps(round_), rows_seen(round_.spec, round_.plan), round_.result.trained_tokens
    if seconds <= 0 or not seen or not tokens:
        return None
    context = USUAL_CONTEXT * tokens / seen
    recompute = round_.spec.train.gradient_checkpointing is True
    return tokens * operations.training(context, USUAL_SUPERVISED, recompute=recompute) / seconds

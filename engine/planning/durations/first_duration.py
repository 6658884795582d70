"""Foretell how long a round takes where none like it has finished: its operations, at the rate that is to be expected.

That is the rate of finished rounds of the same family and precision on this device. Without one it is a share of the
rate of matrix products, which is tried on a processor, and published by the maker of a card.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from statistics import median

from engine.planning.devices import Device, was_on
from engine.planning.durations.duration import Duration, evaluations_of, rows_seen, seconds_of_steps
from engine.planning.durations.operations import operations_of
from engine.planning.memory import bytes_of_a_number
from engine.planning.row_lengths import TrainedRows
from engine.preflight.base_model import read_config
from engine.preflight.families import family_of
from engine.preflight.hub_shapes import directory_with_shapes
from engine.spec.plan import Plan
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.system.matrix_rate import Precision

LAST_ROUNDS = 5
# Of the rate of matrix products that training reached: SmolLM2 on two processors 0.41 and 0.79, TinyLlama on an H200
# 0.24 to 0.36 of the published one (benchmarks/RESULTS.md).
PROCESSOR_SHARE, CARD_SHARE = 0.5, 0.3
BY_ROUNDS, BY_MATRICES = 1.35, 2.0  # factors that it may be off by
START_SECONDS = 12.0  # imports, loading and first passes, as benchmarks/RESULTS.md has them
USUAL_CONTEXT, USUAL_SUPERVISED = 1.3, 0.5  # of the mean length, and of the tokens: what a finished round does not tell


def first_duration(
    spec: Spec,
    plan: Plan,
    device: Device,
    rows: TrainedRows | None,
    rounds: Sequence[Round] = (),
    matrix_rate: float | None = None,
) -> Duration | None:
    """Return how long `spec` takes on `device` by its operations; None where rows, model or a rate are not known.

    `matrix_rate` is the operations of matrix products that this processor computes in a second, None if that was not
    tried.
    """
    directory = directory_with_shapes(spec.model)
    operations = operations_of(directory, spec.lora) if directory is not None else None
    if rows is None or rows.tokens is None or operations is None or directory is None:
        return None
    rates = _rates(spec, family_of(read_config(directory)), device, rounds)
    if rates:
        rate, factor, basis = median(rates.values()), BY_ROUNDS, tuple(rates)
    elif (of_matrices := device.operations if device.is_gpu else matrix_rate) is not None:
        rate, factor, basis = of_matrices * (CARD_SHARE if device.is_gpu else PROCESSOR_SHARE), BY_MATRICES, ()
    else:
        return None
    recompute = spec.train.gradient_checkpointing is True
    steps = rows.tokens * operations.training(rows.context, rows.supervised, recompute=recompute) / rate
    held_out = (plan.eval_samples or 0) * rows.mean * evaluations_of(plan)
    evaluations = held_out * operations.evaluation(rows.context, rows.supervised) / rate
    seconds = START_SECONDS + steps + evaluations
    low = START_SECONDS / 2 + (steps + evaluations) / factor
    high = 2 * START_SECONDS + (steps + evaluations) * factor
    return Duration(seconds, (low, high), steps, basis, start=START_SECONDS, evaluations=evaluations, is_first=True)


def precision_on(device: Device, spec: Spec) -> Precision:
    """Return the precision of the matrix products of `spec` on a processor."""
    return "bfloat16" if bytes_of_a_number(spec, device) == 2 else "float32"


def _rates(spec: Spec, family: str, device: Device, rounds: Sequence[Round]) -> dict[int, float]:
    """Return the rates of the last rounds on `device` of the same family and precision, by their numbers."""
    there = (each for each in reversed(rounds) if each.status is Status.FINISHED and was_on(device, each))
    alike = (each for each in there if _precision(each.spec) == _precision(spec) and _family(each) == family)
    last = islice(((each.number, rate) for each in alike if (rate := _rate_of(each))), LAST_ROUNDS)
    return dict(sorted(last))


def _precision(spec: Spec) -> tuple[object, ...]:
    return spec.model.dtype, spec.model.load_in_4bit, spec.model.load_in_8bit


def _family(round_: Round) -> str:
    directory = directory_with_shapes(round_.spec.model)
    return family_of(read_config(directory)) if directory is not None else ""


def _rate_of(round_: Round) -> float | None:
    """Return the operations that the steps of a finished round computed in a second, None where that is not known."""
    directory = directory_with_shapes(round_.spec.model)
    operations = operations_of(directory, round_.spec.lora) if directory is not None else None
    seconds, seen, tokens = seconds_of_steps(round_), rows_seen(round_.spec, round_.plan), round_.result.trained_tokens
    if operations is None or not seconds or not seen or not tokens:
        return None
    context = USUAL_CONTEXT * tokens / seen
    recompute = round_.spec.train.gradient_checkpointing is True
    return tokens * operations.training(context, USUAL_SUPERVISED, recompute=recompute) / seconds

"""Foretell how long a round takes by what finished rounds with the same model and rows took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from statistics import median

import msgspec
from msgspec import Struct

from engine.planning.accuracy import ended_early
from engine.planning.devices import Device, was_on
from engine.planning.held_out_noise import has_same_rows
from engine.spec.plan import Plan, planned_epochs
from engine.spec.round import Round, Status
from engine.spec.schema import Spec

LAST_ROUNDS = 10
# How far off the time may be at least, by how many rounds it is reckoned by; with more rounds as with the last.
MARGINS = (0.25, 0.15, 0.10)


class Duration(Struct, frozen=True):
    """The time that a round takes, in seconds.

    Attributes:
        seconds: with start, evaluations and checkpoints, as far as earlier rounds tell what these took.
        interval: from the least to the most that is likely.
        steps: of the optimizer steps alone.
        rounds: numbers of the rounds that it is reckoned by.
        energy_kwh: what its card uses meanwhile, in kilowatt-hours; None if none of these rounds has counted it.
        evaluations: of the evaluations alone; None where they are not told apart from the start.
        is_first: whether no round like it has finished, so that it is reckoned by the operations: at the rate of
            `rounds`, or without any of them at a share of the rate of matrix products.
    """

    seconds: float
    interval: tuple[float, float]
    steps: float
    rounds: tuple[int, ...]
    energy_kwh: float | None = None
    evaluations: float | None = None
    is_first: bool = False


def duration_of(spec: Spec, plan: Plan, device: Device, rounds: Sequence[Round]) -> Duration | None:
    """Return how long `spec` takes on `device`, by the last `rounds` there that are alike; None if there are none.

    Rounds are alike if a row costs them the same: the model, its precision, the layers with an adapter, the rows and
    their length are the same. The number of rows and epochs, rank, batch and rates may differ.
    """
    seen, alike = rows_seen(spec, plan), alike_rounds(spec, device, rounds)
    if not alike or not seen:
        return None
    rates = [_seconds_per_row(round_) for round_ in alike]
    steps = seen * median(rates)
    rest = _seconds_beside(plan, alike)
    margin = MARGINS[min(len(alike), len(MARGINS)) - 1]
    low, high = seen * min(rates) * (1 - margin), seen * max(rates) * (1 + margin)
    interval = low + rest * (1 - margin), high + rest * (1 + margin)
    numbers, seconds = tuple(round_.number for round_ in alike), steps + rest
    return Duration(seconds, interval, steps, numbers, _energy(seconds, alike))


def alike_rounds(spec: Spec, device: Device, rounds: Sequence[Round]) -> list[Round]:
    """Return the last of `rounds` that tell how long `spec` takes on `device`."""
    there = (round_ for round_ in reversed(rounds) if round_.status is Status.FINISHED and was_on(device, round_))
    alike = (round_ for round_ in there if is_alike(round_.spec, spec) and _seconds_per_row(round_))
    return [*islice(alike, LAST_ROUNDS)][::-1]


def rows_seen(spec: Spec, plan: Plan) -> float:
    """Return the rows that go through the model in training, each as often as it does; 0 if that is not known."""
    return (planned_epochs(spec.train, plan) or 0) * (plan.train_samples or 0)


def seconds_of_steps(round_: Round) -> float:
    """Return the seconds of all steps of a finished round, 0 where they are not known."""
    seconds = round_.result.train_seconds
    return 0 if seconds is None or not math.isfinite(seconds) or ended_early(round_) else seconds


def _seconds_per_row(round_: Round) -> float:
    """Return the seconds of the steps for each row, 0 where they are not known."""
    seconds, seen = seconds_of_steps(round_), rows_seen(round_.spec, round_.plan)
    return seconds / seen if seen else 0


def _seconds_beside(plan: Plan, alike: Sequence[Round]) -> float:
    """Return what start, evaluations and checkpoints take: in proportion to the evaluations, the base's among them."""
    shares = []
    for round_ in alike:
        if round_.started is None or round_.ended is None or round_.result.train_seconds is None:
            continue
        beside = round_.ended - round_.started - round_.result.train_seconds
        shares.append(max(0.0, beside) / evaluations_of(round_.plan))
    return median(shares) * evaluations_of(plan) if shares else 0.0


def _energy(seconds: float, alike: Sequence[Round]) -> float | None:
    """Return the kilowatt-hours of so many seconds at the mean power of each of the rounds that counted it."""
    rates = [
        round_.result.energy_kwh / (round_.ended - round_.started)
        for round_ in alike
        if round_.result.energy_kwh is not None
        and round_.result.energy_kwh >= 0
        and round_.started is not None
        and round_.ended is not None
        and round_.ended > round_.started
    ]
    energy = seconds * median(rates) if rates else math.inf
    return energy if math.isfinite(energy) else None


def evaluations_of(plan: Plan) -> int:
    """Return the number of evaluations, that of the base model among them."""
    return 1 + (len(plan.evaluations) if plan.evaluations is not None else 0)


def is_alike(first: Spec, second: Spec) -> bool:
    """Return whether a row takes as long in rounds of the two."""
    return has_same_rows(first, second) and _cost(first) == _cost(second)


def _cost(spec: Spec) -> tuple[object, ...]:
    """Return the settings by which the time of a row differs."""
    lora, train = spec.lora, spec.train
    return (
        msgspec.structs.replace(spec.model, trust_remote_code=False), lora.target_modules, lora.target_parameters,
        lora.exclude_modules, lora.modules_to_save, lora.use_dora, train.gradient_checkpointing, train.torch_compile,
        train.micro_batches, train.per_device_train_batch_size if train.micro_batches == "fixed" else None,
    )  # fmt: skip

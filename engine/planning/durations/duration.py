"""Foretell how long a round takes by what finished rounds with the same model and rows took."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import median
from typing import TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from engine.planning.accuracy import ended_early
from engine.planning.devices import Device, was_on
from engine.planning.held_out_noise import has_same_rows
from engine.spec.plan import Plan, planned_epochs
from engine.spec.round import Round, Status
from engine.spec.schema import SAMPLED_PROMPTS, Spec

LAST_ROUNDS = 10
# How far off the time may be at least, by how many rounds it is reckoned by; with more rounds as with the last.
MARGINS = (0.25, 0.15, 0.10)

Parts: TypeAlias = tuple[float | None, float | None, float | None, float | None]
NO_PARTS: Parts = (None, None, None, None)


class Duration(Struct, frozen=True):
    """The time that a round takes, in seconds.

    Attributes:
        seconds: with start, evaluations, samples and checkpoints, as far as earlier rounds tell what these took.
        interval: from the least to the most that is likely.
        steps: of the optimizer steps alone.
        rounds: numbers of the rounds that it is reckoned by.
        energy_kwh: what its card uses meanwhile, in kilowatt-hours; None if none of these rounds has counted it.
        start, evaluations, samples, checkpoints: of these parts; None where it is not known how long they take.
        is_first: whether no round like it has finished, so that it is reckoned by the operations: at the rate of
            `rounds`, or without any of them at a share of the rate of matrix products.
        correction: the factor on a guess by that share, by `rounds` with other models; None without one.
    """

    seconds: float
    interval: tuple[float, float]
    steps: float
    rounds: tuple[int, ...]
    energy_kwh: float | None = None
    start: float | None = None
    evaluations: float | None = None
    samples: float | None = None
    checkpoints: float | None = None
    is_first: bool = False
    correction: float | None = None


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
    timed = [(round_, seconds) for round_ in alike if (seconds := _seconds_beside(round_)) is not None]
    parts = _parts(spec, plan, timed)
    rest = _proportional(plan, timed) if parts == NO_PARTS else sum(filter(None, parts))
    margin = MARGINS[min(len(alike), len(MARGINS)) - 1]
    low, high = seen * min(rates) * (1 - margin), seen * max(rates) * (1 + margin)
    interval = low + rest * (1 - margin), high + rest * (1 + margin)
    numbers, seconds = tuple(round_.number for round_ in alike), steps + rest
    return Duration(seconds, interval, steps, numbers, _energy(seconds, alike), *parts)


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


def _seconds_beside(round_: Round) -> float | None:
    """Return the seconds of a round that were no steps; None where the times are not those of one run."""
    started, ended, steps = round_.started, round_.ended, round_.result.train_seconds
    if started is None or ended is None or steps is None or round_.resumed_from is not None:
        return None
    return max(0.0, ended - started - steps)


def _parts(spec: Spec, plan: Plan, timed: Sequence[tuple[Round, float]]) -> Parts:
    """Return how long start, evaluations, samples and checkpoints take, by rounds that tell it.

    `timed` are rounds, with the seconds that were no steps.
    """
    known = [(round_, round_.beside_steps, seconds) for round_, seconds in timed if round_.beside_steps is not None]
    if not known:
        return NO_PARTS

    def part(name: str, number_in: Callable[[Spec, Plan], int]) -> float | None:
        numbers = [(getattr(beside, name), number_in(round_.spec, round_.plan)) for round_, beside, _ in known]
        rates, wanted = [seconds / number for seconds, number in numbers if number], number_in(spec, plan)
        return wanted * median(rates) if rates else None if wanted else 0.0

    return (
        median(max(0.0, seconds - sum(astuple(beside))) for _, beside, seconds in known),
        part("evaluations", _evaluations if plan.eval_samples is None else _scored_rows),
        part("samples", _answer_tokens),
        part("checkpoints", _saved_adapters),
    )


def _proportional(plan: Plan, timed: Sequence[tuple[Round, float]]) -> float:
    """Return the seconds beside the steps, in proportion to the evaluations, the base's among them."""
    shares = [seconds / evaluations_of(round_.plan) for round_, seconds in timed]
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


def _evaluations(_: Spec, plan: Plan) -> int:
    return evaluations_of(plan)


def _scored_rows(_: Spec, plan: Plan) -> int:
    """Return the held-out rows, each as often as it is scored."""
    return evaluations_of(plan) * (plan.eval_samples or 0)


def _answer_tokens(spec: Spec, plan: Plan) -> int:
    """Return the most tokens that samples and scored answers have."""
    samples = evaluations_of(plan) * SAMPLED_PROMPTS * spec.train.sample_tokens if plan.eval_samples != 0 else 0
    return samples + 2 * spec.generation.examples * spec.generation.max_new_tokens


def _saved_adapters(_: Spec, plan: Plan) -> int:
    """Return how often the adapter is written, at the end among them."""
    return 1 + (len(plan.checkpoints) if plan.checkpoints is not None else 0)


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

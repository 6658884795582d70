"""Define a round: its spec, its status, its result, its note."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from engine.spec.plan import Plan
from engine.spec.schema import Spec
from engine.system.process import ProcessIdentity


class Status(StrEnum):
    """The status of a round."""

    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    IMPORTED = "imported"


ACTIVE = frozenset({Status.RUNNING, Status.STOPPING})
STOPPABLE = frozenset({Status.QUEUED, Status.HELD, Status.RUNNING})
WAITING = frozenset({Status.QUEUED, Status.HELD})
RESUMABLE = frozenset({Status.STOPPED, Status.FAILED, Status.INTERRUPTED})


class Result(Struct, frozen=True):
    """The result of a round; None where unknown.

    Attributes:
        step: the optimizer step whose adapter was measured; None too in rounds of version 0.1.0.
        eval_loss: mean negative log-likelihood per supervised held-out token, in nats.
        eval_loss_interval: its 95 % confidence interval over other examples of the same kind, in nats; exp of its ends
            gives that of the perplexity (`engine.compare.bootstrap`).
        perplexity: exp(eval_loss).
        base_perplexity: perplexity of the base model before training.
        train_seconds: wall time of the training steps, without evaluations.
        trained_tokens: tokens that went through the model in training, without padding.
        peak_memory_bytes: the device's highest allocation (CUDA), else the process's highest resident size.
        adapter_dir: directory of the adapter, relative to the workspace.
        generation, base_generation: scores by metric of the answers of adapter and base model to held-out prompts, as
            in `engine.runs.events.Answered`.
        held_out_rows: hash of the tokens that the losses are over, as in `engine.runs.events.Provenance`.
        energy_kwh: what its card used from its start to its end, for others on it too, in kilowatt-hours; None on a
            processor, on a card that does not count it, and in a round that was resumed.
        nonfinite: for each figure that is None because it was not finite, its value: nan, inf or -inf.
    """

    eval_loss: float | None = None
    eval_loss_interval: tuple[float, float] | None = None
    perplexity: float | None = None
    base_perplexity: float | None = None
    train_seconds: float | None = None
    trained_tokens: int | None = None
    peak_memory_bytes: int | None = None
    adapter_dir: str | None = None
    generation: dict[str, float] = {}
    base_generation: dict[str, float] = {}
    held_out_rows: str | None = None
    nonfinite: dict[str, str] = {}
    step: int | None = None
    energy_kwh: float | None = None


Measured = TypeVar("Measured", bound=Struct)


def with_nonfinite(measured: Measured) -> Measured:
    """Replace each number that is not finite, which JSON cannot write, by None, and record it in `nonfinite`."""
    fields: dict[str, Any] = msgspec.structs.asdict(measured)
    numbers = {name: value for name, value in fields.items() if isinstance(value, float)}
    nonfinite = {name: repr(value) for name, value in numbers.items() if not math.isfinite(value)}
    if not nonfinite:
        return measured
    return msgspec.structs.replace(measured, **dict.fromkeys(nonfinite), nonfinite=fields["nonfinite"] | nonfinite)


class SecondsBesideSteps(Struct, frozen=True):
    """The seconds of a run that its steps and its start did not take.

    Attributes:
        evaluations: of the evaluations of the held-out rows, that of the base model among them.
        samples: of the samples, and of the answers that are scored.
        checkpoints: of writing the checkpoints, and the adapter at the end.
    """

    evaluations: float = 0.0
    samples: float = 0.0
    checkpoints: float = 0.0


class Prediction(Struct, frozen=True, kw_only=True):
    """A prediction of a round from when it was queued; None where a figure was not known.

    Attributes:
        device: the card that it was predicted for, or "this processor".
        is_gpu: whether that was a card.
        cards: UUIDs of the cards of that kind in the machine.
        family: the `model_type` of the base model, "" if it names none.
        bits: of a weight of the base model, as it is held.
        peak_memory_bytes: the peak as it was shown, with a correction by earlier rounds; as `Result.peak_memory_bytes`.
        counted_memory_bytes: the peak by arithmetic alone, from which corrections are learned.
        least_memory_bytes: the memory with a single row at a time.
        seconds: from the start to the end of the round.
        interval: seconds between which it was likely to be.
        tokens: as `Result.trained_tokens`.
        disk_bytes: of its checkpoints and its adapter.
    """

    device: str
    is_gpu: bool
    cards: tuple[str, ...] = ()
    family: str = ""
    bits: int | None = None
    peak_memory_bytes: int | None = None
    counted_memory_bytes: int | None = None
    least_memory_bytes: int | None = None
    seconds: float | None = None
    interval: tuple[float, float] | None = None
    tokens: int | None = None
    disk_bytes: int | None = None


class Trial(Struct, frozen=True, kw_only=True):
    """The part of a round in a sweep.

    Attributes:
        sweep: number of the sweep.
        setting: number of the setting that it tries, from 1.
        repeat: which of the rounds with this setting it is, from 0; they differ in `train.seed`.
        point: texts of the fields that the sweep varies, by their keys.
    """

    sweep: int
    setting: int
    repeat: int = 0
    point: dict[str, str]


class Round(Struct, frozen=True, kw_only=True):
    """One record of the store.

    Attributes:
        id: name of the run directory `runs/<id>`, which cannot lead out of `runs/`; never reused.
        number: the number that people call it by; unique in the workspace.
        tags: the person's own words, each once.
        pinned: True if the person keeps it on top of the table.
        parent: number of the round it was cloned from.
        trial: its part in a sweep, None for a round by itself.
        message: one sentence on why it ended, or what it is doing.
        warnings: the engine's warnings about the data or the spec.
        process: the engine that trains it, while it runs.
        gpu: UUID of the GPU that was assigned to it, None without a particular one.
        predicted: what was predicted when it was queued; None in rounds of earlier versions, and where that failed.
        device: cuda, mps or cpu, on which its last run trained; "" where that is not known.
        resumed_from: step of the checkpoint that its last run continued from; None if that run began at the start.
        disk_bytes: of its checkpoints and its adapter when its last run ended; None without any.
        beside_steps: what its last run did beside its steps; None before it has ended, and in rounds of earlier
            versions.
        turn: place in the queue, lowest first: the time it was queued, unless it was moved; None counts as 0.
        created, started, ended: seconds since the epoch.
    """

    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]*\Z")]
    number: int
    name: str = ""
    status: Status
    note: str = ""
    tags: tuple[str, ...] = ()
    pinned: bool = False
    parent: int | None = None
    trial: Trial | None = None
    spec: Spec
    plan: Plan
    result: Result = Result()
    message: str = ""
    warnings: tuple[str, ...] = ()
    process: ProcessIdentity | None = None
    gpu: str | None = None
    predicted: Prediction | None = None
    device: str = ""
    resumed_from: int | None = None
    disk_bytes: int | None = None
    beside_steps: SecondsBesideSteps | None = None
    turn: float | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None


def in_queue_order(rounds: Iterable[Round]) -> list[Round]:
    """Sort rounds by their turn in the queue."""
    return sorted(rounds, key=lambda round_: (round_.turn or 0.0, round_.number))


def turns_in_order(waiting: list[Round]) -> dict[int, dict[str, Any]]:
    """Return turns that put rounds in this order: their own turns, sorted, and made different where they are equal."""
    turns = sorted(round_.turn or 0.0 for round_ in waiting)
    for index in range(1, len(turns)):
        turns[index] = max(turns[index], math.nextafter(turns[index - 1], math.inf))
    return {round_.number: {"turn": turn} for round_, turn in zip(waiting, turns, strict=True)}

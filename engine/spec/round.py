"""A round: its spec, its status, its result, its note."""

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
    """Where a round stands."""

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
    """What a round came to; None where unknown.

    Attributes:
        step: the optimizer step whose adapter was measured; None too in rounds of version 0.1.0.
        eval_loss: mean negative log-likelihood per supervised held-out token, in nats.
        eval_loss_interval: within which it is with 95 % confidence over other examples of the kind, in nats; exp of
            its ends is that of the perplexity (`engine.compare.bootstrap`).
        perplexity: exp(eval_loss).
        base_perplexity: the same of the base model before training.
        train_seconds: wall time of the training steps, evaluations left out.
        trained_tokens: tokens that went through the model in training, padding left out.
        peak_memory_bytes: the device's highest allocation (CUDA), else the process's highest resident size.
        adapter_dir: where the adapter lies, relative to the workspace.
        generation, base_generation: how near the answers of the adapter and of the base model to held-out prompts came
            to the expected ones, by metric, as in `engine.runs.events.Answered`.
        held_out_rows: which tokens the losses are over, as in `engine.runs.events.Provenance`.
        nonfinite: which of these is None as it was no finite number: nan, inf or -inf.
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


Measured = TypeVar("Measured", bound=Struct)


def with_nonfinite(measured: Measured) -> Measured:
    """`measured` with None in the place of each number that is not finite, and in `nonfinite` which it was.

    JSON has no such numbers.
    """
    fields: dict[str, Any] = msgspec.structs.asdict(measured)
    numbers = {name: value for name, value in fields.items() if isinstance(value, float)}
    told = {name: repr(value) for name, value in numbers.items() if not math.isfinite(value)}
    if not told:
        return measured
    return msgspec.structs.replace(measured, **dict.fromkeys(told), nonfinite=fields["nonfinite"] | told)


class Round(Struct, frozen=True, kw_only=True):
    """One record of the store.

    Attributes:
        id: names the run directory `runs/<id>`, and can name nothing outside it; never reused.
        number: what a person calls it by; unique in the workspace.
        tags: words of the person's own, each once.
        pinned: whether the person wants it on top of the table.
        parent: the number of the round it was cloned from.
        message: one sentence on why it ended as it did, or what it is doing.
        warnings: what the engine had to say about the data or the spec.
        process: the engine training it, while it runs.
        gpu: UUID of the GPU it was given, None if it was given none in particular.
        turn: orders the queue, lowest first: when it was queued, unless it was moved; None counts as 0.
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
    spec: Spec
    plan: Plan
    result: Result = Result()
    message: str = ""
    warnings: tuple[str, ...] = ()
    process: ProcessIdentity | None = None
    gpu: str | None = None
    turn: float | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None


def in_queue_order(rounds: Iterable[Round]) -> list[Round]:
    """Rounds as their turns come."""
    return sorted(rounds, key=lambda round_: (round_.turn or 0.0, round_.number))

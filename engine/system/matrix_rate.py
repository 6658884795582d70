"""The rate at which this processor multiplies matrices, tried by a process that imports torch."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from engine.errors import LoratuiError
from engine.system.worker_process import Refusal, WorkerProcess, WorkerSlot

ANSWER_SECONDS = 30.0
Precision = Literal["float32", "bfloat16"]


class MatrixRate(Struct, frozen=True, tag="rate"):
    """Operations of matrix products in a second."""

    operations: float


_answers: msgspec.json.Decoder[MatrixRate | Refusal] = msgspec.json.Decoder(MatrixRate | Refusal)


def try_matrices(precision: Precision, slot: WorkerSlot | None = None) -> float | None:
    """Return the operations of matrix products in a second, None if they cannot be tried; it takes a few seconds."""

    def start() -> WorkerProcess:
        return WorkerProcess("engine.training.workers.matrix_rate", "the trial of the processor")

    try:
        with (slot or WorkerSlot()).running(start, ANSWER_SECONDS) as process:
            process.send(precision)
            rate = process.receive(_answers)
    except LoratuiError:
        return None
    assert isinstance(rate, MatrixRate)
    return rate.operations if rate.operations > 0 else None

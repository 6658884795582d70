"""Runs as an engine would have left them, for what reads them."""

from __future__ import annotations

import math

from engine.events import Evaluated, Prepared, Step
from engine.rounds import Round
from engine.runlog import EventWriter
from engine.workspace import Workspace


def write_run(
    workspace: Workspace, round_: Round, first: int, last: int, *, loss: float = 2.0, memory: int | None = None
) -> None:
    """Steps of a run whose loss is `loss` over the step, with an evaluation after the last; NaN is allowed."""
    run = workspace.run_dir(round_.id)
    run.path.mkdir(parents=True, exist_ok=True)
    writer = EventWriter(run.events)
    if first == 1:
        writer.append(
            Prepared(
                time=0.0, device="cpu", dtype="float32", parameters=1, trainable_parameters=1, train_samples=1,
                eval_samples=1, total_steps=last, steps_per_epoch=10,
            )
        )  # fmt: skip
    for step in range(first, last + 1):
        writer.append(
            Step(
                time=float(step), step=step, epoch=step / 10, loss=loss / step, learning_rate=1e-4, grad_norm=1.0,
                tokens=100, seconds=1.0, train_seconds=float(step), trained_tokens=100 * step, memory_bytes=memory,
            )
        )  # fmt: skip
    value = loss / last
    perplexity = math.exp(value) if math.isfinite(value) else value
    writer.append(Evaluated(time=float(last), step=last, eval_loss=value, perplexity=perplexity, supervised_tokens=10))
    writer.close()

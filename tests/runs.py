"""Runs as an engine would have left them, for what reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from engine.files.paths import Workspace
from engine.runs.answers import Answer, write_answers
from engine.runs.event_log import EventWriter
from engine.runs.events import Answered, Evaluated, Prepared, Sampled, Saved, Step
from engine.spec.round import Round


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


def write_spoken(
    workspace: Workspace, round_: Round, replies: Mapping[str, tuple[str, str]], *, step: int = 10, scored: bool = True
) -> None:
    """The answers of the base model and of the adapter after `step` to each prompt, scored, or else only as samples."""
    run = workspace.run_dir(round_.id)
    run.path.mkdir(parents=True, exist_ok=True)
    writer = EventWriter(run.events)
    for place, at in enumerate((0, step)):
        texts = {prompt: told[place] for prompt, told in replies.items()}
        if scored:
            write_answers(
                run, at, [Answer(prompt, prompt, f"It is {prompt}", text, {}) for prompt, text in texts.items()]
            )
            writer.append(Answered(time=0.0, step=at, examples=len(texts), scores={}))
        else:
            for prompt, text in texts.items():
                writer.append(Sampled(time=0.0, step=at, prompt=prompt, expected=f"It is {prompt}", text=text))
    writer.append(Saved(time=0.0, step=step, path="adapter", final=True))
    writer.close()

"""Runs as an engine would have left them, for what reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from engine.api import Cockpit
from engine.compare.extra_evaluations import (
    ExtraEvaluation,
    write_evaluation,
)
from engine.files.paths import Workspace
from engine.runs.answers import Answer, write_answers
from engine.runs.event_log import EventWriter
from engine.runs.events import Answered, Evaluated, Prepared, Sampled, Saved, Step
from engine.runs.scores import Scores, write_scores
from engine.spec.round import Result, Round, Status
from tests.support.rounds import make_round, make_spec


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


SCORED = Result(eval_loss=1.0, perplexity=2.72, base_perplexity=5.0, adapter_dir="runs/x/adapter")


def trained(cockpit: Cockpit, losses: list[float], best: int) -> Round:
    """A round that was evaluated after steps 10, 20, ...; its result is that of the evaluation at place `best`."""
    spec = make_round(1).spec
    round_ = cockpit.store.add(lambda number: make_round(number, Status.FINISHED, spec=spec))
    run = cockpit.workspace.run_dir(round_.id)
    run.path.mkdir(parents=True)
    writer = EventWriter(run.events)
    for place, loss in enumerate(losses, 1):
        nlls = tuple(10 * loss + 0.1 * ((row * (6 + round_.number)) % 5 - 2) for row in range(40))
        mean = math.fsum(nlls) / 400
        write_scores(run, 10 * place, Scores(tuple(f"{row:016x}" for row in range(40)), (10,) * 40, nlls))
        writer.append(
            Evaluated(time=0.0, step=10 * place, eval_loss=mean, perplexity=math.exp(mean), supervised_tokens=400)
        )
        if place == best:
            result = Result(eval_loss=mean, perplexity=math.exp(mean), step=10 * place)
            round_ = cockpit.store.update(round_.number, result=result)
    writer.close()
    return round_


def scored_on(path: str, perplexity: float, time: float = 1.0) -> ExtraEvaluation:
    """An evaluation over 1,200 rows, of which two are kept here."""
    scores = Scores(("a", "b"), (3, 4), (1.0, 2.0))
    return ExtraEvaluation(
        time=time, data=msgspec.structs.replace(make_spec().data, path=path), sha256="c0ffee", rows=1200, left_out=3,
        supervised_tokens=7, eval_loss=1.1, perplexity=perplexity, eval_loss_interval=(1.05, 1.16), base_eval_loss=1.7,
        base_perplexity=5.47, scores=scores, base_scores=scores,
    )  # fmt: skip


def add_scored(idle_cockpit: Cockpit) -> None:
    """Rounds: 1 was scored on two files, 2 on one of them, 3 on none."""
    for _ in range(3):
        idle_cockpit.store.add(lambda number: make_round(number, result=SCORED))
    for number, found in ((1, scored_on("b.jsonl", 3.0, 2.0)), (1, scored_on("a.jsonl", 3.3)),
                          (2, scored_on("a.jsonl", 3.4))):  # fmt: skip
        run = idle_cockpit.workspace.run_dir(idle_cockpit.store.get(number).id)
        run.path.mkdir(parents=True, exist_ok=True)
        write_evaluation(run, found)

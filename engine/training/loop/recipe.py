"""One round, top to bottom: load, adapt, measure the base, train, measure, save."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import torch

from engine.errors import DatasetError
from engine.files.directories import write_directory
from engine.files.paths import RunDir
from engine.preflight.initial_adapter import adapter_dir
from engine.runs.checkpoints import is_valid
from engine.runs.event_log import read_events
from engine.runs.events import Answered, Evaluated, Finished, Prepared, Provenance, Sampled, Saved, Started
from engine.runs.snapshot import RunSnapshot, measured_by
from engine.spec.round import Result
from engine.spec.schema import Spec
from engine.training.loop.checkpointing import (
    load_initial_adapter,
    prune_checkpoints,
    restore,
    restore_adapter,
    save_checkpoint,
)
from engine.training.loop.evaluations import measure_base, measure_if_due, measure_initial_adapter, score_answers_once
from engine.training.loop.graph_capture import capture_graphs
from engine.training.loop.optimizer import learning_rates
from engine.training.loop.recorder import Recorder
from engine.training.loop.setup import prepare
from engine.training.loop.state import Training
from engine.training.loop.step import take_step
from engine.training.loop.stop import StopRequested
from engine.training.model.adapter import MODEL_CARD, save_adapter
from engine.training.model.model_card import model_card, read_names
from engine.training.model.pissa import is_pissa, split_base
from engine.training.runtime.device import out_of_memory, peak_memory_bytes
from engine.training.runtime.energy import EnergyMeter, card_uuid


def train_round(spec: Spec, run: RunDir, recorder: Recorder, device: torch.device, resume: int | None) -> None:
    """Train the round of `spec` in `run`, from the checkpoint of step `resume` if any; record how it ends.

    Raises:
        LoratuiError: the round cannot be trained.
        StopRequested: the run was stopped before its first step.
    """
    energy = EnergyMeter(card_uuid(device) if resume is None else None)  # it would know a part of a resumed round
    with recorder.stop.interruptible(), out_of_memory("while loading"):
        history = RunSnapshot(read_events(run.events, Started, Prepared, Evaluated, Sampled, Answered, Provenance))
        training = prepare(spec, run, recorder, device, history.prepared if resume is not None else None)
        training.history, training.energy = history, energy
        measure_base(training)
        provenance, copies = training.provenance.result(lambda *_: None)
        if resume is not None:
            _check_rows(history.provenance, provenance, spec.data.path)
        recorder.append(provenance)
        if copies:
            recorder.warn(
                f"{copies} of {len(training.held_out)} held-out rows are in the training rows too, token for token, "
                f"and make the perplexity look lower: set data.drop_copies to true to train without them"
            )
        if resume is not None:
            restore(training, resume)
            recorder.log(f"resumed after step {resume}")
        elif is_pissa(spec):
            training.pissa_initial = split_base(training.model, spec.lora.init_lora_weights)
        elif (initial := adapter_dir(spec.lora)) is not None:
            load_initial_adapter(training, initial)
            measure_initial_adapter(training)
    try:
        complete = train(training)
    except StopRequested:
        complete = False
    step, total = training.progress.step, training.plan.total_steps
    if complete:
        finish(training)
        return
    if step == 0:
        raise StopRequested
    if step != training.saved_step:
        save(training)
    save_final(training, step)
    recorder.record_early_end(step, f"after step {step} of {total}")


def _check_rows(first: Provenance | None, now: Provenance, path: str) -> None:
    """Raise DatasetError if a round would go on with other rows than it began with, where those are recorded."""
    rows = (now.train_rows, now.held_out_rows)
    if first is not None and first.train_rows and (first.train_rows, first.held_out_rows) != rows:
        raise DatasetError(
            f"data.path is {path!r}: its tokenized rows are not those that the round began with: restore them, or "
            f"start a new round from this one"
        )


def train(training: Training) -> bool:
    """Take all remaining steps; return False if the run was stopped before the last."""
    spec, plan, recorder = training.spec, training.plan, training.recorder
    assert plan.checkpoints is not None
    learning_rate = learning_rates(spec.train, plan, lambda: training.history.evaluations)
    window: list[float] = []
    measure_if_due(training)
    capture_graphs(training)
    recorder.phase("training")
    while not _is_complete(training):
        step = training.progress.step + 1
        with out_of_memory(f"at step {step}"):
            window.append(take_step(training, step, learning_rate(step)))
        if step % spec.train.logging_steps == 0 or step == plan.total_steps:
            recorder.log(_log_line(training, step, learning_rate(step), sum(window) / len(window)))
            window.clear()
        if step in plan.checkpoints:
            save(training)
        if recorder.stop.requested:
            return False
        if measure_if_due(training) and not _is_complete(training):
            recorder.phase("training")
    return True


def _is_complete(training: Training) -> bool:
    """Return whether the last step is done, or early stopping applies."""
    patience = training.spec.train.early_stopping_patience
    stops_early = patience is not None and training.history.evaluations_without_gain() >= patience
    return stops_early or training.progress.step == training.plan.total_steps


def _log_line(training: Training, step: int, learning_rate: float, loss: float) -> str:
    epoch = step / (training.plan.steps_per_epoch or 1)
    rate = training.progress.trained_tokens / max(training.progress.train_seconds, 1e-9)
    return (
        f"step {step}/{training.plan.total_steps}  epoch {epoch:.2f}  loss {loss:.4f}  lr {learning_rate:.2e}  "
        f"{rate:,.0f} tokens/s"
    )


def save(training: Training) -> None:
    """Save a checkpoint; with `save_total_limit` delete older ones, except the best."""
    path, step = save_checkpoint(training), training.progress.step
    training.saved_step = step
    training.recorder.append(Saved(time=time.time(), step=step, path=str(path.relative_to(training.run.path))))
    options = training.spec.train
    if options.save_total_limit is not None:
        best = training.history.best_first()[:1] if options.load_best_model_at_end else []
        prune_checkpoints(training.run.checkpoints, step, options.save_total_limit, best[0].step if best else None)


def save_final(training: Training, step: int) -> Result:
    """Save the current adapter, that of `step`, with its model card; return its result."""
    result = _result(training, step)
    card = model_card(training.spec, read_names(training.run), result, step, training.plan.total_steps or 0)

    def write(directory: Path) -> None:
        save_adapter(training.model, training.tokenizer, training.spec, training.pissa_initial, directory)
        (directory / MODEL_CARD).write_text(card, encoding="utf-8")

    write_directory(training.run.adapter, write)
    training.recorder.append(Saved(time=time.time(), step=step, path=training.run.adapter.name, final=True))
    return result


def finish(training: Training) -> None:
    """Save the last adapter or the best, and record the result of the round."""
    step = training.progress.step
    if step != training.saved_step:
        save(training)
    chosen_step = _choose_adapter(training)
    if chosen_step != step:
        restore_adapter(training, chosen_step)
    score_answers_once(training, chosen_step)
    # With the adapter on the disk, since the driver may hang.
    result = msgspec.structs.replace(save_final(training, chosen_step), energy_kwh=training.energy.kwh())
    message = _final_message(training, chosen_step)
    training.recorder.append(Finished(time=time.time(), result=result, message=message))


def _choose_adapter(training: Training) -> int:
    """Return the step of the last adapter, or of the best whose checkpoint is whole."""
    last = training.progress.step
    if training.spec.train.load_best_model_at_end:
        for candidate in training.history.best_first():
            if candidate.step == last or is_valid(training.run.checkpoint(candidate.step)):
                return candidate.step
            training.recorder.warn(f"checkpoint-{candidate.step}, with a lower eval loss, is damaged and is skipped")
    return last


def _final_message(training: Training, chosen_step: int) -> str:
    """Say whether the round has fewer steps than planned, and whether its adapter is not the last; else empty."""
    step, total = training.progress.step, training.plan.total_steps
    notes = []
    if step != total:
        count = training.history.evaluations_without_gain()
        times = "evaluation" if count == 1 else f"{count} evaluations"
        notes.append(f"ended early after step {step} of {total}: no lower eval loss in the last {times}")
    if chosen_step != step:
        notes.append(f"the final adapter is that of step {chosen_step}, with the lowest eval loss")
    return "; ".join(notes)


def _result(training: Training, step: int) -> Result:
    """Return the result of the adapter of `step`, with no loss if that step was not evaluated."""
    evaluations = {event.step: event for event in training.history.evaluations if not event.initial_adapter}
    base, evaluated = evaluations.get(0), evaluations.get(step)
    answer_scores = {event.step: event.scores for event in training.history.answered}
    return msgspec.structs.replace(
        measured_by(base, evaluated),
        train_seconds=training.progress.train_seconds,
        trained_tokens=training.progress.trained_tokens,
        peak_memory_bytes=peak_memory_bytes(training.device),
        adapter_dir=f"runs/{training.run.name}/{training.run.adapter.name}",
        generation=answer_scores.get(step, {}),
        base_generation=answer_scores.get(0, {}),
    )

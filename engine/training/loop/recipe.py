"""One round, top to bottom: load, adapt, measure the base, train, measure, save."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import torch

from engine.files.directories import write_directory
from engine.files.paths import RunDir
from engine.runs.checkpoints import is_valid
from engine.runs.event_log import read_events
from engine.runs.events import Answered, Evaluated, Finished, Prepared, Sampled, Saved, Started
from engine.runs.snapshot import RunSnapshot, measured_by
from engine.spec.round import Result
from engine.spec.schema import Spec
from engine.training.loop.checkpointing import prune_checkpoints, restore, restore_adapter, save_checkpoint
from engine.training.loop.evaluations import measure_base, measure_if_due, score_answers_once
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


def train_round(spec: Spec, run: RunDir, recorder: Recorder, device: torch.device, resume: int | None) -> None:
    """Train the round of `spec` in `run`, from checkpoint `resume` if given. Its last event says how it ended.

    Raises:
        LoratuiError: the round cannot be trained, in one sentence.
        StopRequested: it was told to end before its first step.
    """
    with recorder.stop.interruptible(), out_of_memory("while loading"):
        history = RunSnapshot(read_events(run.events, Started, Prepared, Evaluated, Sampled, Answered))
        training = prepare(spec, run, recorder, device, history.prepared if resume is not None else None)
        training.history = history
        measure_base(training)
        recorder.append(training.provenance.result(lambda *_: None))
        if resume is not None:
            restore(training, resume)
            recorder.log(f"resumed after step {resume}")
        elif is_pissa(spec):
            training.pissa_initial = split_base(training.model, spec.lora.init_lora_weights)
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


def train(training: Training) -> bool:
    """All steps that are left; False if the run was told to end before the last."""
    spec, plan, recorder = training.spec, training.plan, training.recorder
    assert plan.checkpoints is not None
    learning_rate = learning_rates(spec.train, plan)
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
    """Whether the last step is done, or patience is over."""
    patience = training.spec.train.early_stopping_patience
    impatient = patience is not None and training.history.evaluations_without_gain() >= patience
    return impatient or training.progress.step == training.plan.total_steps


def _log_line(training: Training, step: int, learning_rate: float, loss: float) -> str:
    epoch = step / (training.plan.steps_per_epoch or 1)
    rate = training.progress.trained_tokens / max(training.progress.train_seconds, 1e-9)
    return (
        f"step {step}/{training.plan.total_steps}  epoch {epoch:.2f}  loss {loss:.4f}  lr {learning_rate:.2e}  "
        f"{rate:,.0f} tokens/s"
    )


def save(training: Training) -> None:
    """A checkpoint to go on from; with `save_total_limit` older ones go, but never the best."""
    path, step = save_checkpoint(training), training.progress.step
    training.saved_step = step
    training.recorder.append(Saved(time=time.time(), step=step, path=str(path.relative_to(training.run.path))))
    options = training.spec.train
    if options.save_total_limit is not None:
        best = training.history.best_first()[:1] if options.load_best_model_at_end else []
        prune_checkpoints(training.run.checkpoints, step, options.save_total_limit, best[0].step if best else None)


def save_final(training: Training, step: int) -> Result:
    """The adapter on the model now, which is that of `step`, with its model card; what is known of it."""
    result = _result(training, step)
    card = model_card(training.spec, read_names(training.run), result, step, training.plan.total_steps or 0)

    def write(directory: Path) -> None:
        save_adapter(training.model, training.tokenizer, training.pissa_initial, directory)
        (directory / MODEL_CARD).write_text(card, encoding="utf-8")

    write_directory(training.run.adapter, write)
    training.recorder.append(Saved(time=time.time(), step=step, path=training.run.adapter.name, final=True))
    return result


def finish(training: Training) -> None:
    """Keep the last adapter or the best, and say what the round came to."""
    step = training.progress.step
    if step != training.saved_step:
        save(training)
    kept = _choose_adapter(training)
    if kept.step != step:
        restore_adapter(training, kept.step)
    score_answers_once(training, kept.step)
    result = save_final(training, kept.step)
    training.recorder.append(Finished(time=time.time(), result=result, message=_closing_words(training, kept.step)))


def _choose_adapter(training: Training) -> Evaluated:
    """The evaluation of the adapter to keep: the last, or the best whose checkpoint is whole."""
    last = training.history.evaluations[-1]
    if training.spec.train.load_best_model_at_end:
        for candidate in training.history.best_first():
            if candidate.step == last.step or is_valid(training.run.checkpoint(candidate.step)):
                return candidate
            training.recorder.warn(f"checkpoint-{candidate.step}, with a lower eval loss, is damaged and passed over")
    return last


def _closing_words(training: Training, kept: int) -> str:
    """What is to be known of a finished round that has fewer steps than planned, or not its last adapter."""
    step, total = training.progress.step, training.plan.total_steps
    words = []
    if step != total:
        without = training.history.evaluations_without_gain()
        times = "evaluation" if without == 1 else f"{without} evaluations"
        words.append(f"ended early after step {step} of {total}: no lower eval loss in the last {times}")
    if kept != step:
        words.append(f"the adapter kept is that of step {kept}, with the lowest eval loss")
    return "; ".join(words)


def _result(training: Training, step: int) -> Result:
    """What the adapter of `step` came to, its loss unknown if it was not evaluated then."""
    evaluated = {item.step: item for item in training.history.evaluations}
    base, kept = evaluated.get(0), evaluated.get(step)
    answered = {item.step: item.scores for item in training.history.answered}
    return msgspec.structs.replace(
        measured_by(base, kept),
        train_seconds=training.progress.train_seconds,
        trained_tokens=training.progress.trained_tokens,
        peak_memory_bytes=peak_memory_bytes(training.device),
        adapter_dir=f"runs/{training.run.path.name}/{training.run.adapter.name}",
        generation=answered.get(step, {}),
        base_generation=answered.get(0, {}),
    )

"""One round, top to bottom: load, adapt, measure the base, train, measure, save."""

from __future__ import annotations

import math
import time

import torch
from transformers import get_scheduler

from engine.events import Evaluated, Finished, Prepared, Saved
from engine.rounds import Result
from engine.runlog import read_events
from engine.spec import Spec
from engine.training.checkpoints import restore, save_checkpoint, write_directory
from engine.training.device import out_of_memory, peak_memory_bytes
from engine.training.evaluate import Evaluation
from engine.training.model import save_adapter
from engine.training.preparation import Training, prepare
from engine.training.recorder import Recorder, StopWanted
from engine.training.step import take_step
from engine.workspace import RunDir


def train_round(spec: Spec, run: RunDir, recorder: Recorder, device: torch.device, resume: int | None) -> None:
    """Train the round of `spec` in `run`, from checkpoint `resume` if given. Its last event says how it ended.

    Raises:
        LoratuiError: the round cannot be trained, in one sentence.
        StopWanted: it was told to end before its first step.
    """
    with recorder.stop.at_once(), out_of_memory("while loading"):
        training = prepare(spec, run, recorder, device, _earlier(run) if resume is not None else None)
        base = measure_base(training, resume)
    if resume is not None:
        _go_on(training, resume)
    try:
        evaluation = train(training)
    except StopWanted:
        evaluation = None
    step, total = training.progress.step, training.plan.total_steps
    if evaluation is not None:
        save(training, checkpoint=False)
        recorder.append(Finished(time=time.time(), result=_result(training, base, evaluation)))
        return
    if step == 0:
        raise StopWanted
    save(training, checkpoint=step != training.saved_step)
    recorder.ended_early(step, f"after step {step} of {total}")


def _earlier(run: RunDir) -> Prepared | None:
    """What the run this one goes on from had measured."""
    return next((event for event in reversed(read_events(run.events)) if isinstance(event, Prepared)), None)


def _go_on(training: Training, step: int) -> None:
    """Continue after the checkpoint of `step`."""
    training.progress = restore(training.run.checkpoints / f"checkpoint-{step}", training.model, training.optimizer)
    training.saved_step = step
    if training.progress.scale is not None:
        training.scaler.load_state_dict({**training.scaler.state_dict(), "scale": training.progress.scale})
    training.recorder.log(f"resumed after step {step}")


def measure_base(training: Training, resume: int | None) -> float | None:
    """The base model's perplexity: measured once, with an adapter that is still fresh and so adds nothing to it
    (lora_B starts at zero), and looked up in a round that goes on.
    """
    if resume is not None:
        for event in read_events(training.run.events):
            if isinstance(event, Evaluated) and event.step == 0:
                return event.perplexity
    evaluation = training.evaluate("evaluating base")
    _record_evaluation(training, 0, evaluation)
    return evaluation.perplexity


def train(training: Training) -> Evaluation | None:
    """All steps that are left; the last evaluation, or None if the run was told to end before the last step."""
    spec, plan, recorder = training.spec, training.plan, training.recorder
    assert plan.total_steps is not None and plan.steps_per_epoch is not None
    assert plan.warmup_steps is not None and plan.checkpoint_steps is not None
    schedule = get_scheduler("linear", training.optimizer, plan.warmup_steps, plan.total_steps)
    window: list[float] = []
    evaluation = None
    done = training.progress.step
    if 0 < done < plan.total_steps and done % plan.steps_per_epoch == 0 and not _was_evaluated(training, done):
        _evaluate_after(training, done)  # the run this one goes on from ended before it came to that
    recorder.phase("training")
    for step in range(done + 1, plan.total_steps + 1):
        learning_rate = spec.train.learning_rate * schedule.lr_lambdas[0](step - 1)
        with out_of_memory(f"at step {step}"):
            window.append(take_step(training, step, learning_rate))
        if step % spec.train.logging_steps == 0 or step == plan.total_steps:
            recorder.log(_log_line(training, step, learning_rate, sum(window) / len(window)))
            window.clear()
        if step in plan.checkpoint_steps:
            _save_checkpoint(training)
        if recorder.stop.wanted:
            return None
        if step % plan.steps_per_epoch == 0 or step == plan.total_steps:
            evaluation = _evaluate_after(training, step)
    return evaluation or _evaluate_after(training, plan.total_steps)


def _was_evaluated(training: Training, step: int) -> bool:
    events = read_events(training.run.events)
    return any(isinstance(event, Evaluated) and event.step == step for event in events)


def _evaluate_after(training: Training, step: int) -> Evaluation:
    evaluation = training.evaluate("evaluating")
    _record_evaluation(training, step, evaluation)
    if step < (training.plan.total_steps or 0):
        training.recorder.phase("training")
    return evaluation


def _log_line(training: Training, step: int, learning_rate: float, loss: float) -> str:
    epoch = step / (training.plan.steps_per_epoch or 1)
    rate = training.progress.trained_tokens / max(training.progress.train_seconds, 1e-9)
    return (
        f"step {step}/{training.plan.total_steps}  epoch {epoch:.2f}  loss {loss:.4f}  lr {learning_rate:.2e}  "
        f"{rate:,.0f} tokens/s"
    )


def _record_evaluation(training: Training, step: int, evaluation: Evaluation) -> None:
    who = "base model" if step == 0 else f"step {step}"
    training.recorder.log(f"{who}: eval loss {evaluation.eval_loss:.4f} over {evaluation.supervised_tokens} tokens")
    training.recorder.append(
        Evaluated(
            time=time.time(),
            step=step,
            eval_loss=evaluation.eval_loss,
            perplexity=evaluation.perplexity,
            supervised_tokens=evaluation.supervised_tokens,
        )
    )


def _save_checkpoint(training: Training) -> None:
    path = save_checkpoint(
        training.run.checkpoints, training.model, training.tokenizer, training.optimizer, training.progress
    )
    relative = str(path.relative_to(training.run.path))
    training.saved_step = training.progress.step
    training.recorder.append(Saved(time=time.time(), step=training.progress.step, path=relative))


def save(training: Training, checkpoint: bool) -> None:
    """The adapter as it is, and a checkpoint to go on from if `checkpoint`."""
    if checkpoint:
        _save_checkpoint(training)
    write_directory(training.run.adapter, lambda directory: save_adapter(training.model, training.tokenizer, directory))
    training.recorder.append(
        Saved(time=time.time(), step=training.progress.step, path=training.run.adapter.name, final=True)
    )


def _result(training: Training, base_perplexity: float | None, evaluation: Evaluation) -> Result:
    finite = math.isfinite(evaluation.eval_loss)
    return Result(
        eval_loss=evaluation.eval_loss if finite else None,
        perplexity=evaluation.perplexity,
        base_perplexity=base_perplexity,
        train_seconds=training.progress.train_seconds,
        trained_tokens=training.progress.trained_tokens,
        peak_memory_bytes=peak_memory_bytes(training.device),
        adapter_dir=f"runs/{training.run.path.name}/{training.run.adapter.name}",
    )

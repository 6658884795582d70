"""What is measured along the way: perplexity over the held-out rows, and sample answers."""

from __future__ import annotations

import math
import shutil
import time

from engine.bootstrap import mean_per_token
from engine.errors import TrainingError
from engine.events import Evaluated
from engine.rounds import flagged
from engine.scores import write_scores
from engine.training.answering import score_answers
from engine.training.evaluate import scores_of
from engine.training.preparation import Training
from engine.training.sampling import sample


def measure_base(training: Training) -> None:
    """Measure the base model once in a round, by an adapter that is fresh and adds nothing to it."""
    _measure(training, 0)
    score_answers_once(training, 0)


def measure_if_due(training: Training) -> bool:
    """Measure at the end of each epoch and of the round, unless the run this one goes on from has; whether it was due.

    Raises:
        TrainingError: the eval loss is no finite number; the checkpoint after this step, which leads nowhere, is gone.
        StopWanted: the run is to end.
    """
    step, plan = training.progress.step, training.plan
    if step > 0 and (step % (plan.steps_per_epoch or 1) == 0 or step == plan.total_steps):
        _measure(training, step)
        return True
    return False


def score_answers_once(training: Training, step: int) -> None:
    """Score the answers of the model, which is that of `step`, unless the spec asks for none or it was done before."""
    asked = training.spec.generation.examples
    if asked and not any(item.step == step for item in training.history.answered):
        score_answers(training, step)


def _measure(training: Training, step: int) -> None:
    history = training.history
    if not any(item.step == step for item in history.evaluations):
        _evaluate(training, step)
    if training.spec.train.sample_tokens and not any(item.step == step for item in history.samples):
        sample(training)


def _evaluate(training: Training, step: int) -> None:
    evaluation = training.evaluate("evaluating base" if step == 0 else "evaluating")
    if step and not math.isfinite(evaluation.eval_loss):
        shutil.rmtree(training.run.checkpoint(step), ignore_errors=True)
        raise TrainingError(
            f"the eval loss is no finite number after step {step}: likely train.learning_rate "
            f"{training.spec.train.learning_rate:g} is too high; try a tenth of it, or a longer warm-up"
        )
    write_scores(training.run, step, scores_of(evaluation, training.held_out))
    who = "base model" if step == 0 else f"step {step}"
    training.recorder.log(f"{who}: eval loss {evaluation.eval_loss:.4f} over {evaluation.supervised_tokens} tokens")
    interval = mean_per_token(evaluation.nlls, evaluation.tokens)
    evaluated = flagged(
        Evaluated(
            time=time.time(),
            step=step,
            eval_loss=evaluation.eval_loss,
            perplexity=evaluation.perplexity,
            supervised_tokens=evaluation.supervised_tokens,
            eval_loss_interval=(interval.low, interval.high) if interval else None,
        )
    )
    training.history.apply(evaluated)
    training.recorder.append(evaluated)

"""Measurements during a round: perplexity on the held-out rows, samples, and scored answers."""

from __future__ import annotations

import math
import shutil
import time

import torch

from engine.compare.bootstrap import mean_per_token
from engine.errors import TrainingError
from engine.runs.answers import Answer, write_answers
from engine.runs.events import Answered, Evaluated
from engine.runs.scores import write_scores
from engine.spec.round import with_nonfinite
from engine.training.evaluation.greedy_answers import cut_at_answer, expected_text, text_of
from engine.training.evaluation.perplexity import Evaluation, evaluate, example_hash, scores_of
from engine.training.loop.recorder import PhaseName
from engine.training.loop.samples import answer_prompts, sample
from engine.training.loop.state import Training
from engine.training.runtime.device import out_of_memory
from engine.training.runtime.hub_errors import first_line


def measure_base(training: Training) -> None:
    """Measure the base model once in a round, with a fresh adapter, which adds zero to it."""
    _measure(training, 0)
    score_answers_once(training, 0)


def measure_initial_adapter(training: Training) -> None:
    """Measure the adapter that training starts from: the figure to compare the end with."""
    if training.held_out:
        _record(training, 0, _evaluate_held_out(training, "evaluating"), initial_adapter=True)


def measure_if_due(training: Training) -> bool:
    """Measure after the planned steps, unless an earlier run did; return whether it was due.

    Without held-out rows nothing is measured.

    Raises:
        TrainingError: the eval loss is not finite; the checkpoint of this step, which is useless, is deleted.
        StopRequested: the run has to end.
    """
    step, planned = training.progress.step, training.plan.evaluations
    assert planned is not None
    if step == 0 or step not in planned:
        return False
    _measure(training, step)
    return True


def score_answers_once(training: Training, step: int) -> None:
    """Score the answers of the model of `step`, if the spec asks for it and it is not done yet."""
    wants_scores = training.spec.generation.examples > 0
    if wants_scores and not any(event.step == step for event in training.history.answered):
        score_answers(training, step)


def _measure(training: Training, step: int) -> None:
    history = training.history
    if not training.held_out:
        return
    if not any(event.step == step for event in history.evaluations):
        _evaluate(training, step)
    if training.spec.train.sample_tokens and not any(event.step == step for event in history.samples):
        sample(training)


def _evaluate(training: Training, step: int) -> None:
    evaluation = _evaluate_held_out(training, "evaluating base" if step == 0 else "evaluating")
    if step and not math.isfinite(evaluation.eval_loss):
        shutil.rmtree(training.run.checkpoint(step), ignore_errors=True)
        raise TrainingError(
            f"eval loss is not finite after step {step}: train.learning_rate "
            f"{training.spec.train.learning_rate:g} is probably too high; try a tenth of it, or a longer warm-up"
        )
    write_scores(training.run, step, scores_of(evaluation, training.held_out))
    _record(training, step, evaluation)


def _record(training: Training, step: int, evaluation: Evaluation, initial_adapter: bool = False) -> None:
    """Append the event of an evaluation, and a line to the log."""
    interval = mean_per_token(evaluation.nlls, evaluation.tokens)
    evaluated = with_nonfinite(
        Evaluated(
            time=time.time(),
            step=step,
            eval_loss=evaluation.eval_loss,
            perplexity=evaluation.perplexity,
            supervised_tokens=evaluation.supervised_tokens,
            eval_loss_interval=(interval.low, interval.high) if interval else None,
            initial_adapter=initial_adapter,
        )
    )
    training.recorder.log(
        f"{evaluated.model}: eval loss {evaluation.eval_loss:.4f} over {evaluation.supervised_tokens} tokens"
    )
    training.history.apply(evaluated)
    training.recorder.append(evaluated)


def _evaluate_held_out(training: Training, phase: PhaseName) -> Evaluation:
    """Score the held-out rows, with progress as `phase`."""
    with training.recorder.stop.interruptible(), out_of_memory(f"while {phase}"):
        return evaluate(
            training.forward,
            training.held_out,
            training.budget.tokens,
            lambda done, total: training.recorder.phase(phase, done, total),
        )


def score_answers(training: Training, step: int) -> None:
    """Score the answers to the first `generation.examples` held-out prompts against the expected ones.

    `step` is the model's, 0 for the base model. Training is not affected: the random state and the caches stay as they
    are. An error becomes a warning, as no round has to fail for its answers.

    Raises:
        StopRequested: the run has to end.
    """
    spec, recorder = training.spec.generation, training.recorder
    examples = training.held_out[: spec.examples]
    rows = [cut_at_answer(example) for example in examples]
    try:
        with recorder.stop.interruptible():
            answers = answer_prompts(
                training, rows, spec.max_new_tokens, lambda done: recorder.phase("answering", done, len(rows))
            )
            texts = [text_of(training.tokenizer, answer) for answer in answers]
            expected = [expected_text(training.tokenizer, row) for row in rows]
            from engine.training.evaluation.text_metrics import score_texts  # its libraries are slow to import

            scored = score_texts(texts, expected)
    except Exception as error:
        torch.cuda.empty_cache()
        recorder.warn(f"answers cannot be scored ({first_line(error)}): generation.examples 0 turns this off")
        return
    prompts = [text_of(training.tokenizer, row.prompt) for row in rows]
    fields_by_row = zip(map(example_hash, examples), prompts, expected, texts, scored.each, strict=True)
    write_answers(training.run, step, [Answer(*fields) for fields in fields_by_row])
    answered = Answered(
        time=time.time(), step=step, examples=len(examples), scores=scored.scores, signatures=scored.signatures
    )
    training.history.apply(answered)
    recorder.append(answered)

"""What is measured along the way: perplexity over the held-out rows, and sample answers."""

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
from engine.training.evaluation.greedy_answers import answers, cut_at_answer, text_of
from engine.training.evaluation.perplexity import example_hash, scores_of
from engine.training.loop.samples import sample
from engine.training.loop.state import Training
from engine.training.runtime.hub_errors import first_line


def measure_base(training: Training) -> None:
    """Measure the base model once in a round, by an adapter that is fresh and adds nothing to it."""
    _measure(training, 0)
    score_answers_once(training, 0)


def measure_if_due(training: Training) -> bool:
    """Measure at the end of each epoch and of the round, unless the run this one goes on from has; whether it was due.

    Raises:
        TrainingError: the eval loss is no finite number; the checkpoint after this step, which leads nowhere, is gone.
        StopRequested: the run is to end.
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
    evaluated = with_nonfinite(
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


def score_answers(training: Training, step: int) -> None:
    """Record how near the answers to the first `generation.examples` held-out prompts come to the expected ones.

    `step` is the model's, 0 for the base model. Nothing of the training changes by it: no random number is drawn, and
    no cache outlives the call. Whatever goes wrong is a warning, as no round is to end for its answers.

    Raises:
        StopRequested: the run is to end.
    """
    spec, recorder = training.spec.generation, training.recorder
    examples = training.held_out[: spec.examples]
    questions = [cut_at_answer(example) for example in examples]
    try:
        with recorder.stop.interruptible():
            found = answers(
                training.forward,
                training.tokenizer,
                training.budget.tokens,
                questions,
                spec.max_new_tokens,
                lambda done: recorder.phase("answering", done, len(questions)),
            )
            texts = [text_of(training.tokenizer, answer) for answer in found]
            expected = [text_of(training.tokenizer, question.expected) for question in questions]
            from engine.training.evaluation.text_metrics import score_texts  # whose libraries most rounds do without

            scored = score_texts(texts, expected)
    except Exception as error:
        torch.cuda.empty_cache()
        recorder.warn(f"no answers could be scored ({first_line(error)}): generation.examples 0 does without them")
        return
    prompts = [text_of(training.tokenizer, question.prompt) for question in questions]
    listed = zip(map(example_hash, examples), prompts, expected, texts, scored.each, strict=True)
    write_answers(training.run, step, [Answer(*fields) for fields in listed])
    answered = Answered(
        time=time.time(), step=step, examples=len(examples), scores=scored.scores, signatures=scored.signatures
    )
    training.history.apply(answered)
    recorder.append(answered)

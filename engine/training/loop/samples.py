"""What the model answers to a few held-out prompts: the same ones after each evaluation, so that rounds compare."""

from __future__ import annotations

import time

import torch

from engine.runs.events import Sampled
from engine.training.evaluation.greedy_answers import answers, cut_at_answer, text_of
from engine.training.loop.state import Training
from engine.training.runtime.hub_errors import first_line

PROMPTS = 3


def sample(training: Training) -> None:
    """Record the answers to the first `PROMPTS` held-out rows, at most `train.sample_tokens` tokens each.

    Nothing of the training changes by it: no random number is drawn, and no cache outlives the call. Whatever goes
    wrong is a warning, as no round is to end for its samples.

    Raises:
        StopRequested: the run is to end.
    """
    recorder, step = training.recorder, training.progress.step
    recorder.phase("sampling")
    questions = [cut_at_answer(example) for example in training.held_out[:PROMPTS]]
    try:
        with recorder.stop.interruptible():
            found = answers(
                training.forward,
                training.tokenizer,
                training.budget.tokens,
                questions,
                training.spec.train.sample_tokens,
                lambda _: None,
            )
    except Exception as error:
        torch.cuda.empty_cache()
        recorder.warn(f"no samples could be made ({first_line(error)}): train.sample_tokens 0 does without them")
        return
    for question, answer in zip(questions, found, strict=True):
        sampled = Sampled(
            time=time.time(),
            step=step,
            prompt=text_of(training.tokenizer, question.prompt),
            expected=text_of(training.tokenizer, question.expected),
            text=text_of(training.tokenizer, answer),
        )
        training.history.apply(sampled)
        recorder.append(sampled)

"""Sample answers to a few held-out prompts, the same after each evaluation, so that rounds can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from engine.runs.events import Sampled
from engine.spec.schema import SAMPLED_PROMPTS
from engine.training.evaluation.greedy_answers import (
    PromptAndAnswer,
    cut_at_answer,
    expected_text,
    generate_answers,
    text_of,
)
from engine.training.loop.state import Training
from engine.training.runtime.hub_errors import first_line


def sample(training: Training) -> None:
    """Record the answers to the first `SAMPLED_PROMPTS` held-out rows, at most `train.sample_tokens` tokens each.

    Training is not affected: the random state and the caches stay as they are. An error becomes a warning, as no round
    has to fail for its samples.

    Raises:
        StopRequested: the run has to end.
    """
    recorder, step = training.recorder, training.progress.step
    recorder.phase("sampling")
    rows = [cut_at_answer(example) for example in training.held_out[:SAMPLED_PROMPTS]]
    try:
        with recorder.stop.interruptible():
            answers = answer_prompts(training, rows, training.spec.train.sample_tokens, lambda _: None)
    except Exception as error:
        torch.cuda.empty_cache()
        recorder.warn(f"samples cannot be generated ({first_line(error)}): train.sample_tokens 0 turns them off")
        return
    for row, answer in zip(rows, answers, strict=True):
        sampled = Sampled(
            time=time.time(),
            step=step,
            prompt=text_of(training.tokenizer, row.prompt),
            expected=expected_text(training.tokenizer, row),
            text=text_of(training.tokenizer, answer),
        )
        training.history.apply(sampled)
        recorder.append(sampled)


def answer_prompts(
    training: Training, rows: Sequence[PromptAndAnswer], max_new_tokens: int, progress: Callable[[int], None]
) -> list[torch.Tensor]:
    """Generate the answers of the model as it is now; the arguments are those of `generate_answers`."""
    return generate_answers(
        training.forward, training.tokenizer, training.budget.tokens, rows, max_new_tokens, progress
    )

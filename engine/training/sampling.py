"""What the model answers to a few held-out prompts: the same ones after each evaluation, so that rounds compare."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from engine.events import Sampled
from engine.training.data import Example
from engine.training.hub import first_line
from engine.training.loss import autocast
from engine.training.preparation import Training

PROMPTS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A row cut where its answer begins: `prompt` and `expected` are int32 tokens, neither is empty."""

    prompt: torch.Tensor
    expected: torch.Tensor


def cut_at_answer(example: Example) -> Question:
    """The row up to its first supervised token, and that span of supervised tokens.

    A row that is supervised throughout has no answer of its own: its second half is one.
    """
    supervised = example.supervised
    start = int(supervised.int().argmax())
    if bool(supervised[1:].all()):
        start = max(1, len(example) // 2)
    after = supervised[start:]
    length = len(after) if bool(after.all()) else int(after.int().argmin())
    return Question(example.tokens[:start], example.tokens[start : start + length])


def sample(training: Training) -> None:
    """Record the answers to the first `PROMPTS` held-out rows, at most `train.sample_tokens` tokens each.

    Nothing of the training changes by it: no random number is drawn, and no cache outlives the call. Whatever goes
    wrong is a warning, as no round is to end for its samples.

    Raises:
        StopWanted: the run is to end.
    """
    recorder, step = training.recorder, training.progress.step
    recorder.phase("sampling")
    questions = [cut_at_answer(example) for example in training.held_out[:PROMPTS]]
    try:
        with recorder.stop.at_once():
            answers = _answer(training, questions)
    except Exception as error:
        torch.cuda.empty_cache()
        recorder.warn(f"no samples could be made ({first_line(error)}): train.sample_tokens 0 does without them")
        return
    for question, answer in zip(questions, answers, strict=True):
        sampled = Sampled(
            time=time.time(),
            step=step,
            prompt=_text(training.tokenizer, question.prompt),
            expected=_text(training.tokenizer, question.expected),
            text=_text(training.tokenizer, answer),
        )
        training.history.apply(sampled)
        recorder.append(sampled)


def _answer(training: Training, questions: Sequence[Question]) -> list[torch.Tensor]:
    """The greedy answers, as tokens, of all questions in one batch padded on the left."""
    model, device = training.model, training.device
    longest = max(len(question.prompt) for question in questions)
    input_ids = torch.zeros(len(questions), longest, dtype=torch.int64)
    mask = torch.zeros_like(input_ids)
    for row, question in enumerate(questions):
        input_ids[row, longest - len(question.prompt) :] = question.prompt
        mask[row, longest - len(question.prompt) :] = 1
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), training.forward.as_loaded(), autocast(device, training.forward.dtype):
            output = model.generate(
                input_ids=input_ids.to(device),
                attention_mask=mask.to(device),
                generation_config=_greedy(training, longest),
            )
    finally:
        model.train(was_training)
    return list(output[:, longest:].cpu())


def _greedy(training: Training, prompt_tokens: int) -> GenerationConfig:
    """Greedy whatever the model's own generation_config says, and no further than it has positions for."""
    config: Any = training.model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    room = training.spec.train.sample_tokens
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=room if positions is None else min(room, positions - prompt_tokens),
        eos_token_id=training.tokenizer.eos_token_id,
        pad_token_id=training.tokenizer.eos_token_id,
        use_cache=True,
    )


def _text(tokenizer: PreTrainedTokenizerBase, tokens: torch.Tensor) -> str:
    """The tokens as text that JSON can hold, without special tokens and the space around it."""
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return str(text).encode("utf-8", "replace").decode("utf-8").strip()

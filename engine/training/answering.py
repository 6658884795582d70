"""The greedy answers of a model to prompts of held-out rows, and how near they come to the rows' own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from engine.answers import Answer, write_answers
from engine.events import Answered
from engine.training.data import Example
from engine.training.evaluate import example_hash
from engine.training.hub import first_line
from engine.training.loss import autocast
from engine.training.preparation import Training

BATCH = 32  # prompts at once, as far as they are of one length; fewer where memory is short


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


def score_answers(training: Training, step: int) -> None:
    """Record how near the answers to the first `generation.examples` held-out prompts come to the expected ones.

    `step` is the model's, 0 for the base model. Nothing of the training changes by it: no random number is drawn, and
    no cache outlives the call. Whatever goes wrong is a warning, as no round is to end for its answers.

    Raises:
        StopWanted: the run is to end.
    """
    spec, recorder = training.spec.generation, training.recorder
    examples = training.held_out[: spec.examples]
    questions = [cut_at_answer(example) for example in examples]
    try:
        with recorder.stop.at_once():
            found = answers(
                training, questions, spec.max_new_tokens, lambda done: recorder.phase("answering", done, len(questions))
            )
            texts = [text_of(training.tokenizer, answer) for answer in found]
            expected = [text_of(training.tokenizer, question.expected) for question in questions]
            from engine.training.text_metrics import score_texts  # whose libraries most rounds do without

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


def answers(
    training: Training, questions: Sequence[Question], max_new_tokens: int, progress: Callable[[int], None]
) -> list[torch.Tensor]:
    """The greedy answer to each question as tokens; `progress` is told how many there are, and may raise to end it."""
    found: dict[int, torch.Tensor] = {}
    waiting = sorted(range(len(questions)), key=lambda index: -len(questions[index].prompt))
    at_once = max(1, min(BATCH, training.budget.tokens // (len(questions[waiting[0]].prompt) + max_new_tokens)))
    for start in range(0, len(waiting), at_once):
        progress(len(found))
        batch = waiting[start : start + at_once]
        found |= dict(zip(batch, _answer(training, [questions[index] for index in batch], max_new_tokens), strict=True))
    progress(len(found))
    return [found[index] for index in range(len(questions))]


def _answer(training: Training, questions: Sequence[Question], max_new_tokens: int) -> list[torch.Tensor]:
    """The answers to all questions in one batch padded on the left."""
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
                generation_config=_greedy(training, longest, max_new_tokens),
            )
    finally:
        model.train(was_training)
    return list(output[:, longest:].cpu())


def _greedy(training: Training, prompt_tokens: int, max_new_tokens: int) -> GenerationConfig:
    """Greedy whatever the model's own generation_config says, and no further than it has positions for."""
    config: Any = training.model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens if positions is None else min(max_new_tokens, positions - prompt_tokens),
        eos_token_id=training.tokenizer.eos_token_id,
        pad_token_id=training.tokenizer.eos_token_id,
        use_cache=True,
    )


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: torch.Tensor) -> str:
    """The tokens as text that JSON can hold, without special tokens and the space around it."""
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return str(text).encode("utf-8", "replace").decode("utf-8").strip()

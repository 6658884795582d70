"""Greedy answers of a model to the prompts of held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from engine.training.data.answer_ends import answer_ends, before_end
from engine.training.data.tokenize import Example
from engine.training.kernels.head_loss import autocast
from engine.training.model.forward import Forward

BATCH_PROMPTS = 32  # fewer where memory is short


@dataclass(frozen=True, slots=True, eq=False)
class PromptAndAnswer:
    """A row cut where its answer begins: `prompt` and `expected` are int32 [length], neither is empty."""

    prompt: torch.Tensor
    expected: torch.Tensor


def cut_at_answer(example: Example) -> PromptAndAnswer:
    """Cut the row at its first supervised token; the expected answer is the span of supervised tokens from there.

    A row that is supervised throughout has no answer of its own: its second half serves as one.
    """
    supervised = example.supervised
    start = int(supervised.int().argmax())
    if bool(supervised[1:].all()):
        start = max(1, len(example) // 2)
    rest = supervised[start:]
    length = len(rest) if bool(rest.all()) else int(rest.int().argmin())
    return PromptAndAnswer(example.tokens[:start], example.tokens[start : start + length])


def generate_answers(
    forward: Forward,
    tokenizer: PreTrainedTokenizerBase,
    budget_tokens: int,
    rows: Sequence[PromptAndAnswer],
    max_new_tokens: int,
    progress: Callable[[int], None],
) -> list[torch.Tensor]:
    """Return the greedy answer to each prompt as tokens, without the one that ends it.

    A batch has at most `budget_tokens` of prompt and answer.

    `progress` is called with the number of answers so far, and may raise to end the generation.
    """
    answer_of: dict[int, torch.Tensor] = {}
    longest_first = sorted(range(len(rows)), key=lambda index: -len(rows[index].prompt))
    batch_size = max(1, min(BATCH_PROMPTS, budget_tokens // (len(rows[longest_first[0]].prompt) + max_new_tokens)))
    if forward.rope_switch is not None:  # one prompt would change how another is rotated
        batch_size = 1
    for start in range(0, len(longest_first), batch_size):
        progress(len(answer_of))
        batch = longest_first[start : start + batch_size]
        prompts = [rows[index].prompt for index in batch]
        answers = forward.replacements.call(partial(_answer, forward, tokenizer, prompts, max_new_tokens))
        answer_of |= dict(zip(batch, answers, strict=True))
    progress(len(answer_of))
    return [answer_of[index] for index in range(len(rows))]


def _answer(
    forward: Forward, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[torch.Tensor], max_new_tokens: int
) -> list[torch.Tensor]:
    """Answer all prompts in one batch, padded on the left."""
    model, device = forward.model, forward.device
    ends = answer_ends(tokenizer, model.get_base_model())
    longest = max(map(len, prompts))
    input_ids = torch.zeros(len(prompts), longest, dtype=torch.int64)  # [prompts, longest]
    mask = torch.zeros_like(input_ids)  # [prompts, longest]
    for row, prompt in enumerate(prompts):
        input_ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), forward.as_loaded(), autocast(device, forward.dtype):
            output = model.generate(  # [prompts, longest + new tokens]
                input_ids=input_ids.to(device),
                attention_mask=mask.to(device),
                generation_config=_greedy(model.config, ends, longest, max_new_tokens),
            )
    finally:
        model.train(was_training)
    return [before_end(answer, ends) for answer in output[:, longest:].cpu()]


def _greedy(
    config: PretrainedConfig, ends: tuple[int, ...], prompt_tokens: int, max_new_tokens: int
) -> GenerationConfig:
    """Return a greedy configuration, whatever the model's own says, within the positions of the model."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens if positions is None else min(max_new_tokens, positions - prompt_tokens),
        eos_token_id=list(ends),
        pad_token_id=ends[0],
        use_cache=True,
    )


def expected_text(tokenizer: PreTrainedTokenizerBase, row: PromptAndAnswer) -> str:
    """Return the expected answer as `text_of` does, without the token that ends it, special or not."""
    ends_itself = int(row.expected[-1]) in answer_ends(tokenizer)
    return text_of(tokenizer, row.expected[:-1] if ends_itself else row.expected)


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: torch.Tensor) -> str:
    """Decode `tokens` to text that JSON can hold, without special tokens and surrounding space."""
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return str(text).encode("utf-8", "replace").decode("utf-8").strip()

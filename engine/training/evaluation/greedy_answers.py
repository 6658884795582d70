"""The greedy answers of a model to prompts of held-out rows, and how near they come to the rows' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from engine.training.data.tokenize import Example
from engine.training.kernels.head_loss import autocast
from engine.training.model.forward import Forward

BATCH = 32  # prompts at once, as far as they are of one length; fewer where memory is short


@dataclass(frozen=True, slots=True, eq=False)
class PromptAndAnswer:
    """A row cut where its answer begins: `prompt` and `expected` are int32 tokens, neither is empty."""

    prompt: torch.Tensor
    expected: torch.Tensor


def cut_at_answer(example: Example) -> PromptAndAnswer:
    """The row up to its first supervised token, and that span of supervised tokens.

    A row that is supervised throughout has no answer of its own: its second half is one.
    """
    supervised = example.supervised
    start = int(supervised.int().argmax())
    if bool(supervised[1:].all()):
        start = max(1, len(example) // 2)
    after = supervised[start:]
    length = len(after) if bool(after.all()) else int(after.int().argmin())
    return PromptAndAnswer(example.tokens[:start], example.tokens[start : start + length])


def answers(
    forward: Forward,
    tokenizer: PreTrainedTokenizerBase,
    budget_tokens: int,
    questions: Sequence[PromptAndAnswer],
    max_new_tokens: int,
    progress: Callable[[int], None],
) -> list[torch.Tensor]:
    """The greedy answer to each question as tokens, at most `budget_tokens` of prompt and answer in one batch.

    `progress` is called with the number of answers so far, and may raise to end it.
    """
    found: dict[int, torch.Tensor] = {}
    waiting = sorted(range(len(questions)), key=lambda index: -len(questions[index].prompt))
    at_once = max(1, min(BATCH, budget_tokens // (len(questions[waiting[0]].prompt) + max_new_tokens)))
    for start in range(0, len(waiting), at_once):
        progress(len(found))
        batch = waiting[start : start + at_once]
        prompts = [questions[index].prompt for index in batch]
        found |= dict(zip(batch, _answer(forward, tokenizer, prompts, max_new_tokens), strict=True))
    progress(len(found))
    return [found[index] for index in range(len(questions))]


def _answer(
    forward: Forward, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[torch.Tensor], max_new_tokens: int
) -> list[torch.Tensor]:
    """The answers to all prompts in one batch padded on the left."""
    model, device = forward.model, forward.device
    longest = max(map(len, prompts))
    input_ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
    mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), forward.as_loaded(), autocast(device, forward.dtype):
            output = model.generate(
                input_ids=input_ids.to(device),
                attention_mask=mask.to(device),
                generation_config=_greedy(model.config, tokenizer.eos_token_id, longest, max_new_tokens),
            )
    finally:
        model.train(was_training)
    return list(output[:, longest:].cpu())


def _greedy(
    config: PretrainedConfig, eos_token_id: int | None, prompt_tokens: int, max_new_tokens: int
) -> GenerationConfig:
    """Greedy whatever the model's own generation_config says, and no further than it has positions for."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens if positions is None else min(max_new_tokens, positions - prompt_tokens),
        eos_token_id=eos_token_id,
        pad_token_id=eos_token_id,
        use_cache=True,
    )


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: torch.Tensor) -> str:
    """The tokens as text that JSON can hold, without special tokens and the space around it."""
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return str(text).encode("utf-8", "replace").decode("utf-8").strip()

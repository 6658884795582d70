"""The tokens that end an answer: one definition for what is rendered, learned and generated."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from engine.dataset.rows import Turn, Unusable
from engine.errors import ModelError
from engine.training.data.chat_template import UNUSED, ChatTemplate


def answer_ends(tokenizer: PreTrainedTokenizerBase, model: Any = None) -> tuple[int, ...]:
    """Return the tokens that end an answer: the end of a sequence, of a turn, and what `model` generates up to.

    They are the tokenizer's `eos_token_id`, which rows without a chat template end with; the token by which the chat
    template ends an assistant's turn; and `eos_token_id` of the model's generation_config, one token or several.
    """
    ends = [tokenizer.eos_token_id, _turn_end(tokenizer)]
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends += own if isinstance(own, list) else [own]
    return tuple(dict.fromkeys(int(end) for end in ends if end is not None))


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the special token that the chat template writes after the last answer; None if it writes none."""
    if not tokenizer.chat_template:
        return None
    try:
        template = ChatTemplate(tokenizer)
        marker = template.end_of_last_answer([Turn("user", "?"), Turn("assistant", UNUSED)])
    except (ValueError, Unusable, ModelError):  # no default among several templates, or one that refuses these turns
        return None
    token = None if marker is None else tokenizer.convert_tokens_to_ids(marker)
    return token if isinstance(token, int) else None


def before_end(tokens: torch.Tensor, ends: tuple[int, ...]) -> torch.Tensor:
    """Return `tokens` [length] up to the first that ends an answer."""
    (places,) = torch.isin(tokens, torch.tensor(ends, dtype=tokens.dtype, device=tokens.device)).nonzero(as_tuple=True)
    return tokens[: int(places[0])] if len(places) else tokens

"""Tokenizers with a chat template, and what is learned of a row in their tokens."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer

from engine.spec.presets import embedded_model
from engine.training.data.tokenize import Example
from tests.support.tiny_model import make_tokenizer


def chat_tokenizer(template: str | None, base: str = "tiny") -> Any:
    """A tokenizer with ChatML's markers among its tokens."""
    tokenizer: Any = make_tokenizer() if base == "tiny" else AutoTokenizer.from_pretrained(embedded_model())
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


def parts(tokenizer: Any, example: Example) -> list[str]:
    """The text of each run of supervised tokens."""
    runs: list[list[int]] = []
    before = False
    for token, supervised in zip(example.tokens.tolist(), example.supervised.tolist(), strict=True):
        if supervised:
            runs[len(runs) if not before else -1 :] = [[*(runs[-1] if before else []), token]]
        before = supervised
    return [tokenizer.decode(run) for run in runs]

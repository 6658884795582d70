"""A replacement for a chat process: it gives the same written answers to every question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.chat.protocol import AnswerRequest, Complete, Loaded, LoadRequest, TextDelta

ANSWERS = (
    "LoRA freezes the base model and learns two thin matrices beside each layer, whose product is added to its "
    "weights. Only these are trained and saved:\n\n1. few parameters, so little memory;\n2. a small file, which is "
    "switched in a moment.\n\nThat is it, in short.",
    "Low-rank adaptation: a way to fine-tune a large model by training a small one that is added to it, in short.",
)


class ScriptedTalk:
    """Answers as `engine.chat.client.ChatClient` does, each adapter with one of `ANSWERS`."""

    def __init__(self, request: LoadRequest, directory: Path | None = None) -> None:
        self._names = [*request.adapters]

    def loaded(self) -> Loaded:
        return Loaded("cuda", "float16", 2048)

    def ask(self, question: AnswerRequest) -> Iterator[TextDelta | Complete]:
        place = self._names.index(question.adapter) if question.adapter is not None else -1
        text = ANSWERS[place % len(ANSWERS)]
        tokens = len(text) // 4
        for word in text.split(" "):
            yield TextDelta(f"{word} ")
        yield Complete(text, 37, tokens, tokens / (31.4 - place), "complete")

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass

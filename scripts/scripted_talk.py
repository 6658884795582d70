"""A replacement for a chat process: it gives the sample answers, as the adapter or the base model wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.chat.protocol import AnswerRequest, Complete, Loaded, LoadRequest, TextDelta
from scripts.sample_workspace import ANSWERS

POSITIONS = 8192  # of SmolLM2-135M-Instruct
TOKENS_PER_SECOND = 24.0


class ScriptedTalk:
    """Answers as `engine.chat.client.ChatClient` does, each instruction of `ANSWERS` with the text that is there."""

    def __init__(self, request: LoadRequest, directory: Path | None = None) -> None:
        pass

    def loaded(self) -> Loaded:
        return Loaded("cpu", "bfloat16", POSITIONS)

    def ask(self, question: AnswerRequest) -> Iterator[TextDelta | Complete]:
        answer = next(each for each in ANSWERS if each.instruction == question.messages[-1].content)
        text, tokens = (
            (answer.base, answer.base_tokens) if question.adapter is None else (answer.adapter, answer.adapter_tokens)
        )
        for word in text.split(" "):
            yield TextDelta(f"{word} ")
        yield Complete(text, answer.prompt_tokens, tokens, tokens / TOKENS_PER_SECOND, "complete")

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass

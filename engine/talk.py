"""Talking to adapters: a process of its own holds the base model and answers, so that nothing heavy is imported here.

The process is `engine.training.talking`. Lines of JSON go in, an `Opening` first and then a `Question` at a time; what
comes out is an `Opened`, and for each question its `Piece`s and a `Complete`, or a `Refusal`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from engine.dialogue import Dialogue, Refusal
from engine.process import has_variable
from engine.spec import PROMPT_TEMPLATE, ModelSpec

TALK_VARIABLE = "LORATUI_TALK"  # tells such a process from an engine that trains
Ending = Literal["complete", "cut", "stopped"]


class Message(Struct, frozen=True):
    """One turn of a conversation, in transformers' spelling."""

    role: Literal["system", "user", "assistant"]
    content: str


class Opening(Struct, frozen=True, tag="opening"):
    """The base model, and the directories of the adapters to be had on it by the names they are asked by."""

    model: ModelSpec
    adapters: dict[str, str]


class Question(Struct, frozen=True, tag="question"):
    """What is said next, and how the answer is to be made; options as transformers' `GenerationConfig` spells them.

    Attributes:
        adapter: which of the adapters answers, None for the base model.
        messages: the conversation so far, the last from the user.
        prompt_template: how it is written, as `data.prompt_template`; `auto` is the chat template.
        temperature: 0 takes the most likely token each time.
    """

    adapter: str | None
    messages: tuple[Message, ...]
    prompt_template: Annotated[str, Meta(pattern=PROMPT_TEMPLATE)] = "auto"
    temperature: Annotated[float, Meta(ge=0, le=10)] = 0.7
    top_p: Annotated[float, Meta(gt=0, le=1)] = 0.95
    max_new_tokens: Annotated[int, Meta(ge=1, le=4096)] = 512
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0


class Opened(Struct, frozen=True, tag="opened"):
    """The model is there.

    Attributes:
        device, dtype: where it is, and in which precision.
        positions: how many tokens a conversation may have, None if that is not known.
        unusable: a sentence on each adapter that could not be put on it, by the adapter's name.
    """

    device: str
    dtype: str
    positions: int | None
    unusable: dict[str, str] = {}


class Piece(Struct, frozen=True, tag="piece"):
    """Some more of an answer's text."""

    text: str


class Complete(Struct, frozen=True, tag="complete"):
    """An answer is at its end.

    Attributes:
        text: all of it.
        prompt_tokens, tokens: of what was said before, and of the answer.
        seconds: from the question to the end.
        ending: it was said to its end, cut at `max_new_tokens` or the model's last position, or stopped.
    """

    text: str
    prompt_tokens: int
    tokens: int
    seconds: float
    ending: Ending


Reply = Opened | Piece | Complete | Refusal
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def talks_among(pids: Iterable[int]) -> frozenset[int]:
    """Those of these processes that hold a model to talk to."""
    return frozenset(pid for pid in pids if has_variable(pid, TALK_VARIABLE))


class Talk(Dialogue):
    """A base model with adapters that answers questions, one at a time."""

    def __init__(self, opening: Opening) -> None:
        """Start the process; raises LoratuiError if the machine refuses that."""
        super().__init__("engine.training.talking", "the model", {TALK_VARIABLE: "1"})
        self._answering = False
        self.send(opening)

    def opened(self) -> Opened:
        """Wait until the model is there, with those of the adapters that can be used.

        Raises:
            ProcessEnded: the process died of it.
            LoratuiError: the model cannot be used, in one sentence.
        """
        reply = self.receive(_replies)
        assert isinstance(reply, Opened)
        return reply

    def ask(self, question: Question) -> Iterator[Piece | Complete]:
        """The answer as it is made, the last item a `Complete`. Take all of them before the next question.

        Raises:
            ProcessEnded: the process died, and answers no other question either.
            LoratuiError: this question cannot be answered, such as one of a conversation that is too long.
        """
        self.send(question)
        self._answering = True
        try:
            while isinstance(reply := self.receive(_replies), Piece):
                yield reply
        finally:
            self._answering = False
        assert isinstance(reply, Complete)
        yield reply

    def stop(self) -> None:
        """End the answer that is being made after its next token; nothing happens if there is none."""
        if self._answering:
            self.signal(signal.SIGINT)

    def __enter__(self) -> Talk:
        return self

"""What goes to the process that chats and what comes back, one JSON document a line."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from engine.spec.schema import PROMPT_TEMPLATE, ModelSpec
from engine.system.worker_process import Refusal

Ending = Literal["complete", "cut", "stopped"]


class Message(Struct, frozen=True):
    """One turn of a conversation, in transformers' spelling."""

    role: Literal["system", "user", "assistant"]
    content: str


class LoadRequest(Struct, frozen=True, tag="load"):
    """The base model, and the directories of the adapters to be had on it by the names they are asked by."""

    model: ModelSpec
    adapters: dict[str, str]


class AnswerRequest(Struct, frozen=True, tag="question"):
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


class Loaded(Struct, frozen=True, tag="loaded"):
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


class TextDelta(Struct, frozen=True, tag="text"):
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


Reply = Loaded | TextDelta | Complete | Refusal

"""The messages to and from the process that chats, one JSON document a line."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from engine.spec.data import PROMPT_TEMPLATE
from engine.spec.schema import ModelSpec
from engine.system.worker_process import Refusal

Ending = Literal["complete", "cut", "stopped"]


class Message(Struct, frozen=True):
    """One turn of a conversation, with transformers' field names."""

    role: Literal["system", "user", "assistant"]
    content: str


class LoadRequest(Struct, frozen=True, tag="load"):
    """A request to load a base model, and adapters from their directories by name."""

    model: ModelSpec
    adapters: dict[str, str]


class AnswerRequest(Struct, frozen=True, tag="question"):
    """A request for an answer; the options have the names of transformers' `GenerationConfig`.

    Attributes:
        adapter: the name of the adapter that answers, None for the base model.
        messages: the conversation so far, the last from the user.
        prompt_template: as `data.prompt_template`; `auto` is the chat template.
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
    """The model is loaded.

    Attributes:
        device, dtype: its device and precision.
        positions: the most tokens that a conversation may have, None if unknown.
        unusable: a sentence on each adapter that does not fit the model, by the adapter's name.
    """

    device: str
    dtype: str
    positions: int | None
    unusable: dict[str, str] = {}


class TextDelta(Struct, frozen=True, tag="text"):
    """The next part of an answer's text."""

    text: str


class Complete(Struct, frozen=True, tag="complete"):
    """A finished answer.

    Attributes:
        text: the whole answer.
        prompt_tokens, tokens: number of tokens of the prompt, and of the answer.
        seconds: from the request to the end.
        ending: `complete`, `cut` at `max_new_tokens` or the model's last position, or `stopped` by the person.
    """

    text: str
    prompt_tokens: int
    tokens: int
    seconds: float
    ending: Ending


Reply = Loaded | TextDelta | Complete | Refusal

"""A conversation with adapters side by side, as data: its speakers, messages, answers and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from engine.chat.protocol import AnswerRequest, Complete, Ending, Message
from engine.spec.data import PROMPT_TEMPLATE, Seed
from engine.spec.schema import ModelSpec

BASE = "base"  # the key of the base model; a round's is its id, which begins with a digit
MAX_SPEAKERS = 4
MAX_CHARACTERS = 1_000_000  # of one text, far beyond any model's positions
Text = Annotated[str, Meta(max_length=MAX_CHARACTERS)]
Count = Annotated[int, Meta(ge=0)]


class ChatSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of answers; the options have the names of transformers' `GenerationConfig`."""

    temperature: Annotated[
        float, Meta(ge=0, le=10, description="0 takes the most likely token each time; higher is more random.")
    ] = 0.7
    top_p: Annotated[
        float, Meta(gt=0, le=1, description="Choose among the most likely tokens with this probability in all.")
    ] = 0.95
    max_new_tokens: Annotated[int, Meta(ge=1, le=4096, description="Longest answer in tokens.")] = 512
    seed: Annotated[Seed, Meta(description="Random seed: the same seed gives the same answer again.")] = 0
    prompt_template: Annotated[
        str,
        Meta(
            pattern=PROMPT_TEMPLATE,
            max_length=10_000,
            description="auto asks each round as it was trained, and the base model as the first round.",
            extra={
                "allowed": r"auto, alpaca, chat_template, or your own text up to the answer, with {prompt} in it and "
                r"\n for a line break"
            },
        ),
    ] = "auto"
    system: Annotated[Text, Meta(description="System prompt, in front of everything; may be empty.")] = ""


class Speaker(Struct, frozen=True, forbid_unknown_fields=True):
    """One who answers: a round or the base model.

    Attributes:
        key: the id of a round, `BASE` for the base model.
        number, name: of the round; None and "" for the base model.
        prompt_template: its prompt template where the settings say `auto`; `auto` here is the chat template.
    """

    key: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]*\Z", max_length=100)]
    number: int | None
    name: Annotated[str, Meta(max_length=10_000)] = ""
    prompt_template: Annotated[str, Meta(pattern=PROMPT_TEMPLATE, max_length=10_000)] = "auto"

    @property
    def adapter(self) -> str | None:
        """The adapter's name in the chat process, None for the base model."""
        return None if self.key == BASE else self.key

    @property
    def called(self) -> str:
        """`round 3`, `base model`."""
        return "base model" if self.number is None else f"round {self.number}"


class ChatAnswer(Struct, frozen=True, forbid_unknown_fields=True):
    """One speaker's answer to a message.

    Attributes:
        prompt_tokens, tokens, seconds: as in `engine.chat.protocol.Complete`; 0 if its process died meanwhile.
        refusal: why the answer is missing or incomplete; "" if it is whole.
    """

    text: Text
    prompt_tokens: Count = 0
    tokens: Count = 0
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    ending: Ending = "complete"
    refusal: Annotated[str, Meta(max_length=10_000)] = ""

    @property
    def is_answered(self) -> bool:
        """True if there is an answer, even an empty one."""
        return bool(self.text or not self.refusal)

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.seconds > 0 and self.tokens else None


class Exchange(Struct, frozen=True, forbid_unknown_fields=True):
    """A message of the person, and the answers by the keys of their speakers."""

    message: Text = field(name="said")
    answers: dict[str, ChatAnswer] = {}


class Chat(Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation that can be continued. `created` is in seconds since the epoch."""

    model: ModelSpec
    speakers: Annotated[tuple[Speaker, ...], Meta(min_length=1, max_length=MAX_SPEAKERS + 1)]
    created: float = 0.0
    settings: ChatSettings = ChatSettings()
    exchanges: Annotated[tuple[Exchange, ...], Meta(max_length=10_000)] = ()
    version: Literal[1] = 1

    def speaker(self, key: str) -> Speaker:
        """Return the speaker of that key; raises KeyError if there is none."""
        speaker = next((speaker for speaker in self.speakers if speaker.key == key), None)
        if speaker is None:
            raise KeyError(key)
        return speaker

    def template_of(self, speaker: Speaker) -> str:
        """Return the prompt template of `speaker`, as `data.prompt_template`."""
        own = self.settings.prompt_template
        return speaker.prompt_template if own == "auto" else own

    def messages_of(self, key: str) -> tuple[Message, ...]:
        """Return one speaker's side of the conversation: the system prompt, then messages and its own answers.

        Messages that it did not answer, as it joined later or refused, are left out.
        """
        exchanges = [item for item in self.exchanges if (answer := item.answers.get(key)) and answer.is_answered]
        return self._messages(key, exchanges)

    def example_of(self, key: str) -> tuple[Message, ...]:
        """Return one speaker's side as a training example, without empty answers; empty if it has no others."""
        exchanges = [item for item in self.exchanges if (answer := item.answers.get(key)) and answer.text.strip()]
        return self._messages(key, exchanges) if exchanges else ()

    def _messages(self, key: str, exchanges: Sequence[Exchange]) -> tuple[Message, ...]:
        messages = [Message("system", self.settings.system)] if self.settings.system.strip() else []
        for exchange in exchanges:
            messages += [Message("user", exchange.message), Message("assistant", exchange.answers[key].text)]
        return tuple(messages)

    def request(self, key: str, message: str) -> AnswerRequest:
        """Make the request to speaker `key` for an answer to `message`."""
        speaker, settings = self.speaker(key), self.settings
        return AnswerRequest(
            adapter=speaker.adapter,
            messages=(*self.messages_of(key), Message("user", message)),
            prompt_template=self.template_of(speaker),
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed,
        )

    def with_message(self, message: str) -> Chat:
        """Return the conversation with a new message without answers."""
        return msgspec.structs.replace(self, exchanges=(*self.exchanges, Exchange(message)))

    def with_answer(self, key: str, answer: ChatAnswer) -> Chat:
        """Return the conversation with an answer to the last message."""
        *before, last = self.exchanges
        answered = msgspec.structs.replace(last, answers={**last.answers, key: answer})
        return msgspec.structs.replace(self, exchanges=(*before, answered))

    def without_last(self) -> tuple[Chat, str]:
        """Return the conversation without the last exchange, and its message; raises IndexError if there is none."""
        message = self.exchanges[-1].message
        return msgspec.structs.replace(self, exchanges=self.exchanges[:-1]), message

    def restarted(self, created: float) -> Chat:
        """Return a conversation with the same speakers and settings, without messages."""
        return msgspec.structs.replace(self, exchanges=(), created=created)

    def with_base(self, beside: bool) -> Chat:
        """Return the conversation with the base model beside the others, with the template of the first; or without."""
        others = tuple(speaker for speaker in self.speakers if speaker.key != BASE)
        base = (Speaker(BASE, None, prompt_template=others[0].prompt_template),) if beside else ()
        return msgspec.structs.replace(self, speakers=(*others, *base))

    def with_settings(self, settings: ChatSettings) -> Chat:
        """Return the conversation with other settings from now on."""
        return msgspec.structs.replace(self, settings=settings)

    def called(self, key: str) -> str:
        """Return a speaker's name, also of one that no longer takes part."""
        speaker = next((speaker for speaker in self.speakers if speaker.key == key), None)
        return speaker.called if speaker is not None else Speaker(key, None).called

    @property
    def has_base(self) -> bool:
        return any(speaker.key == BASE for speaker in self.speakers)


def answer_of(complete: Complete) -> ChatAnswer:
    """Make a conversation's answer of a finished one."""
    return ChatAnswer(complete.text, complete.prompt_tokens, complete.tokens, complete.seconds, complete.ending)

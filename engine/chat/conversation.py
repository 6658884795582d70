"""A conversation with adapters side by side, as data: who speaks, what was said, and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from engine.chat.protocol import AnswerRequest, Complete, Ending, Message
from engine.spec.schema import PROMPT_TEMPLATE, ModelSpec, Seed

BASE = "base"  # the key of the base model; a round's is its id, which begins with a digit
MAX_SPEAKERS = 4
MAX_CHARACTERS = 1_000_000  # of one text, far beyond any model's positions
Text = Annotated[str, Meta(max_length=MAX_CHARACTERS)]
Count = Annotated[int, Meta(ge=0)]


class ChatSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How questions are asked; options as transformers' `GenerationConfig` spells them."""

    temperature: Annotated[
        float, Meta(ge=0, le=10, description="0 takes the likeliest token each time; more leaves more to chance.")
    ] = 0.7
    top_p: Annotated[
        float, Meta(gt=0, le=1, description="Of the likeliest tokens only those that make up this share.")
    ] = 0.95
    max_new_tokens: Annotated[int, Meta(ge=1, le=4096, description="Longest answer in tokens.")] = 512
    seed: Annotated[Seed, Meta(description="Chance of an answer: the same again with the same seed.")] = 0
    prompt_template: Annotated[
        str,
        Meta(
            pattern=PROMPT_TEMPLATE,
            max_length=10_000,
            description="auto asks each round as it was trained, and the base model as the first of them.",
            extra={
                "allowed": r"auto, alpaca, chat_template, or your own text up to the answer, with {prompt} in it and "
                r"\n for a line break"
            },
        ),
    ] = "auto"
    system: Annotated[Text, Meta(description="System prompt, in front of everything; may be empty.")] = ""


class Speaker(Struct, frozen=True, forbid_unknown_fields=True):
    """Who answers.

    Attributes:
        key: the id of a round, `BASE` for the base model.
        number, name: of the round; None and "" for the base model.
        prompt_template: what it is asked in where the settings leave that to it, `auto` for the chat template.
    """

    key: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]*\Z", max_length=100)]
    number: int | None
    name: Annotated[str, Meta(max_length=10_000)] = ""
    prompt_template: Annotated[str, Meta(pattern=PROMPT_TEMPLATE, max_length=10_000)] = "auto"

    @property
    def adapter(self) -> str | None:
        """The name that the talking process is asked for it by."""
        return None if self.key == BASE else self.key

    @property
    def called(self) -> str:
        """`round 3`, `base model`."""
        return "base model" if self.number is None else f"round {self.number}"


class ChatAnswer(Struct, frozen=True, forbid_unknown_fields=True):
    """What one speaker said to a message.

    Attributes:
        prompt_tokens, tokens, seconds: as `engine.chat.client.Complete` has them; 0 where its process died over it.
        refusal: why there is no answer, or no more of one; "" if there is.
    """

    text: Text
    prompt_tokens: Count = 0
    tokens: Count = 0
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    ending: Ending = "complete"
    refusal: Annotated[str, Meta(max_length=10_000)] = ""

    @property
    def is_one(self) -> bool:
        """Whether something was answered, be it nothing."""
        return bool(self.text or not self.refusal)

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.seconds > 0 and self.tokens else None


class Exchange(Struct, frozen=True, forbid_unknown_fields=True):
    """What the person said, and the answers by the keys of those who gave them."""

    said: Text
    answers: dict[str, ChatAnswer] = {}


class Chat(Struct, frozen=True, forbid_unknown_fields=True):
    """All there is to go on with it. `created` is in seconds since the epoch."""

    model: ModelSpec
    speakers: Annotated[tuple[Speaker, ...], Meta(min_length=1, max_length=MAX_SPEAKERS + 1)]
    created: float = 0.0
    settings: ChatSettings = ChatSettings()
    exchanges: Annotated[tuple[Exchange, ...], Meta(max_length=10_000)] = ()
    version: Literal[1] = 1

    def speaker(self, key: str) -> Speaker:
        """The speaker of that key; raises KeyError if there is none."""
        found = next((item for item in self.speakers if item.key == key), None)
        if found is None:
            raise KeyError(key)
        return found

    def template_of(self, speaker: Speaker) -> str:
        """What `speaker` is asked in, as `data.prompt_template`."""
        own = self.settings.prompt_template
        return speaker.prompt_template if own == "auto" else own

    def messages_of(self, key: str) -> tuple[Message, ...]:
        """What one speaker has heard and said, the system prompt in front: its own answers, nobody else's.

        A message that it did not answer, as it came later or refused it, is not part of that.
        """
        heard = [item for item in self.exchanges if (answer := item.answers.get(key)) and answer.is_one]
        return self._messages(key, heard)

    def example_of(self, key: str) -> tuple[Message, ...]:
        """One speaker's side as a training example, without what it left unanswered; empty if that is all."""
        learned = [item for item in self.exchanges if (answer := item.answers.get(key)) and answer.text.strip()]
        return self._messages(key, learned) if learned else ()

    def _messages(self, key: str, exchanges: Sequence[Exchange]) -> tuple[Message, ...]:
        messages = [Message("system", self.settings.system)] if self.settings.system.strip() else []
        for exchange in exchanges:
            messages += [Message("user", exchange.said), Message("assistant", exchange.answers[key].text)]
        return tuple(messages)

    def question(self, key: str, said: str) -> AnswerRequest:
        """What `key` is to be asked when the person says `said`."""
        speaker, settings = self.speaker(key), self.settings
        return AnswerRequest(
            adapter=speaker.adapter,
            messages=(*self.messages_of(key), Message("user", said)),
            prompt_template=self.template_of(speaker),
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed,
        )

    def with_message(self, said: str) -> Chat:
        """With a message that nobody has answered yet."""
        return msgspec.structs.replace(self, exchanges=(*self.exchanges, Exchange(said)))

    def with_answer(self, key: str, answer: ChatAnswer) -> Chat:
        """With an answer to the last message."""
        *before, last = self.exchanges
        answered = msgspec.structs.replace(last, answers={**last.answers, key: answer})
        return msgspec.structs.replace(self, exchanges=(*before, answered))

    def taken_back(self) -> tuple[Chat, str]:
        """Without the last exchange, and what was said in it; raises IndexError if there is none."""
        said = self.exchanges[-1].said
        return msgspec.structs.replace(self, exchanges=self.exchanges[:-1]), said

    def anew(self, created: float) -> Chat:
        """The same speakers and settings, and nothing said yet."""
        return msgspec.structs.replace(self, exchanges=(), created=created)

    def with_base(self, beside: bool) -> Chat:
        """With the base model beside the others, asked as the first of them is; or without it."""
        others = tuple(item for item in self.speakers if item.key != BASE)
        base = (Speaker(BASE, None, prompt_template=others[0].prompt_template),) if beside else ()
        return msgspec.structs.replace(self, speakers=(*others, *base))

    def with_settings(self, settings: ChatSettings) -> Chat:
        """Asked in another way from now on."""
        return msgspec.structs.replace(self, settings=settings)

    def called(self, key: str) -> str:
        """What a speaker is called, also one that takes part no more."""
        found = next((item for item in self.speakers if item.key == key), None)
        return found.called if found is not None else Speaker(key, None).called

    @property
    def has_base(self) -> bool:
        return any(item.key == BASE for item in self.speakers)


def answer_of(complete: Complete) -> ChatAnswer:
    """An answer at its end, as a conversation holds it."""
    return ChatAnswer(complete.text, complete.prompt_tokens, complete.tokens, complete.seconds, complete.ending)

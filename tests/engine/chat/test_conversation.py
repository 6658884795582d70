"""A conversation as data: whose words each speaker hears, and how it is asked."""

from __future__ import annotations

import msgspec
import pytest

from engine.chat.conversation import BASE, Chat, ChatAnswer, ChatSettings, Speaker
from engine.chat.protocol import Message
from engine.errors import SpecError
from engine.spec.fields import parse_setting
from engine.spec.schema import ModelSpec

THREE = Speaker("0003-c0ffee", 3, "attention", "alpaca")
EIGHT = Speaker("0008-c0ffee", 8, "rates", "chat_template")
TALK = Chat(ModelSpec("some/model"), (THREE, EIGHT), created=1.0)


def heard(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(item.role, item.content) for item in messages]


def test_each_speaker_hears_its_own_earlier_answers() -> None:
    talk = (
        TALK.with_message("one?")
        .with_answer(THREE.key, ChatAnswer("1 of 3"))
        .with_answer(EIGHT.key, ChatAnswer("1 of 8"))
    )
    assert heard(talk.request(THREE.key, "two?").messages) == [
        ("user", "one?"), ("assistant", "1 of 3"), ("user", "two?"),
    ]  # fmt: skip
    assert heard(talk.request(EIGHT.key, "two?").messages)[1] == ("assistant", "1 of 8")


def test_what_a_speaker_refused_or_came_too_late_for_is_not_what_it_heard() -> None:
    talk = TALK.with_message("one?").with_answer(THREE.key, ChatAnswer("1")).with_message("very long")
    talk = talk.with_answer(THREE.key, ChatAnswer("", refusal="it is too long")).with_base(True)
    talk = talk.with_message("stopped").with_answer(THREE.key, ChatAnswer("I was", ending="stopped", refusal="it died"))
    assert heard(talk.messages_of(THREE.key)) == [
        ("user", "one?"), ("assistant", "1"), ("user", "stopped"), ("assistant", "I was"),
    ]  # fmt: skip
    assert heard(talk.messages_of(BASE)) == []


def test_system_prompt_is_in_front_for_everybody() -> None:
    talk = msgspec.structs.replace(TALK, settings=ChatSettings(system="Be brief."))
    assert heard(talk.request(EIGHT.key, "one?").messages) == [("system", "Be brief."), ("user", "one?")]


def test_each_is_asked_in_its_own_template_unless_the_person_chose_one() -> None:
    talk = TALK.with_base(True)
    assert [talk.request(item.key, "a").prompt_template for item in talk.speakers] == [
        "alpaca", "chat_template", "alpaca",
    ]  # fmt: skip
    own = msgspec.structs.replace(talk, settings=ChatSettings(prompt_template="{prompt} ->"))
    assert {own.request(item.key, "a").prompt_template for item in own.speakers} == {"{prompt} ->"}


def test_question_carries_the_settings_and_the_adapters_name() -> None:
    settings = ChatSettings(temperature=0.0, top_p=0.5, max_new_tokens=7, seed=9)
    talk = msgspec.structs.replace(TALK, settings=settings).with_base(True)
    question = talk.request(THREE.key, "a")
    assert (question.adapter, question.temperature, question.top_p, question.max_new_tokens, question.seed) == (
        THREE.key, 0.0, 0.5, 7, 9,
    )  # fmt: skip
    assert talk.request(BASE, "a").adapter is None


def test_last_exchange_is_taken_back_with_what_was_said() -> None:
    talk = TALK.with_message("one?").with_answer(THREE.key, ChatAnswer("1")).with_message("two?")
    before, text = talk.without_last()
    assert (text, [item.message for item in before.exchanges]) == ("two?", ["one?"])
    with pytest.raises(IndexError):
        TALK.without_last()


def test_example_is_one_speakers_side_without_what_was_not_answered() -> None:
    talk = TALK.with_message("one?").with_answer(THREE.key, ChatAnswer("1")).with_answer(EIGHT.key, ChatAnswer(" "))
    talk = talk.with_message("too long").with_answer(THREE.key, ChatAnswer("", refusal="too long"))
    assert heard(talk.example_of(THREE.key)) == [("user", "one?"), ("assistant", "1")]
    assert talk.example_of(EIGHT.key) == ()


def test_base_model_comes_and_goes() -> None:
    assert [item.called for item in TALK.with_base(True).speakers] == ["round 3", "round 8", "base model"]
    assert (TALK.called(EIGHT.key), TALK.called(BASE)) == ("round 8", "base model")
    assert TALK.with_base(True).with_base(False) == TALK
    assert (TALK.with_base(True).has_base, TALK.has_base) == (True, False)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("temperature", "0,7", None), ("temperature", "2×10^-1", 0.2), ("max_new_tokens", "1,024", 1024),
     ("top_p", "95 %", 0.95), ("top_p", "0", None), ("seed", "-1", None), ("prompt_template", "{answer}", None),
     ("system", "", "")],
)  # fmt: skip
def test_settings_are_read_as_people_type_them(name: str, text: str, value: object) -> None:
    if value is None:
        with pytest.raises(SpecError, match=f"{name} is {text!r}".replace("{", r"\{")):
            parse_setting(ChatSettings, name, text)
    else:
        assert parse_setting(ChatSettings, name, text) == value

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.formats import FORMATS
from engine.dataset.formats import read_record as read_record_noting
from engine.dataset.load import usable_rows
from engine.dataset.rows import (
    AlpacaRow,
    Conversation,
    DetectedFormat,
    PlainText,
    PromptCompletion,
    Row,
    Turn,
    Unusable,
)
from engine.errors import DatasetError
from engine.spec.data import DataSpec
from engine.spec.fields import spec_fields

ASKED, ANSWERED = Turn("user", "hi"), Turn("assistant", "ho", supervised=True)
CHAT = Conversation((ASKED, ANSWERED))
HI, HO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}


def read_record(form: str, record: Any) -> Row:
    return read_record_noting(form, record, set(), set())


def read(*records: Any, **settings: Any) -> tuple[DetectedFormat, tuple[Row, ...]]:
    rows = usable_rows(records, DataSpec(path="", **settings), "rows.json")
    return rows.format, rows.usable


@pytest.mark.parametrize(
    ("record", "format_", "columns", "row"),
    [
        ({"instruction": "a", "input": "b", "output": "c"}, "alpaca", "instruction output", AlpacaRow("a", "c", "b")),
        ({"instruction": "a", "output": "c", "text": "whole"}, "alpaca", "instruction output", AlpacaRow("a", "c")),
        (
            {"instruction": "a", "context": "b", "response": "c", "category": "x"},
            "alpaca",
            "instruction response",
            AlpacaRow("a", "c", "b"),
        ),
        (
            {"instruction": "a", "input": "", "output": "c", "system": "s", "history": [["q", "r"]]},
            "alpaca",
            "instruction output",
            AlpacaRow("a", "c", "", "s", (("q", "r"),)),
        ),
        ({"prompt": "a", "completion": "b"}, "prompt-completion", "prompt completion", PromptCompletion("a", "b")),
        ({"prompt": "a", "response": "b"}, "prompt-completion", "prompt response", PromptCompletion("a", "b")),
        ({"question": "a", "answer": "b"}, "prompt-completion", "question answer", PromptCompletion("a", "b")),
        ({"query": "a", "response": "b"}, "prompt-completion", "query response", PromptCompletion("a", "b")),
        ({"input": "a", "output": "b"}, "prompt-completion", "input output", PromptCompletion("a", "b")),
        ({"prompt": [HI], "completion": [HO]}, "prompt-completion", "prompt completion", CHAT),
        ({"text": " a\n"}, "text", "text", PlainText(" a\n")),
        ({"content": "a", "meta": {}}, "text", "content", PlainText("a")),
        ({"messages": [HI, HO], "prompt": "hi"}, "messages", "messages", CHAT),
        ({"conversations": [HI, HO]}, "messages", "conversations", CHAT),
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}], "id": 1},
            "sharegpt",
            "conversations",
            CHAT,
        ),
        (
            {"conversation": [{"from": "user", "text": "hi"}, {"from": "Assistant", "text": "ho"}]},
            "sharegpt",
            "conversation",
            CHAT,
        ),
        ({"conversation": [{"human": "hi", "assistant": "ho"}]}, "sharegpt", "conversation", CHAT),
        ({"conversation": [{"system": "", "input": "hi", "output": "ho"}]}, "sharegpt", "conversation", CHAT),
        ([HI, HO], "messages", "messages", CHAT),
        (
            {"prompt": "[1]", "completion": "[2]"},
            "prompt-completion",
            "prompt completion",
            PromptCompletion("[1]", "[2]"),
        ),
    ],
)
def test_format_is_detected_by_the_columns(record: Any, format_: str, columns: str, row: Row) -> None:
    template = "chat_template" if format_ == "alpaca" else "auto"
    detected, rows = read(record, record, prompt_template=template)
    assert (detected.name, detected.columns) == (format_, tuple(columns.split()))
    assert rows == (row, row)
    assert read(record, record, format=format_, prompt_template=template) == (detected, rows)


def test_forms_are_the_specs() -> None:
    assert {"auto", *FORMATS} == set(spec_fields()["data.format"].choices)


def test_question_and_answer_in_one_object_are_two_messages() -> None:
    pairs = [
        {"system": "be brief", "input": "hi", "output": "ho", "loss_weight": 0},
        {"input": "hi", "output": "ho", "id": 1},
    ]
    detected, (row, _) = read(*[{"conversation": pairs}] * 2)
    assert row == Conversation((Turn("system", "be brief"), ASKED, Turn("assistant", "ho"), ASKED, ANSWERED))
    assert detected.unused == ("messages.id",)
    with pytest.raises(Unusable, match="its message 3 is a list, not text"):
        read_record(
            "sharegpt", {"conversation": [{"human": "hi", "assistant": "ho"}, {"human": [["x"]], "assistant": ""}]}
        )


@pytest.mark.parametrize("answer", [[HO], HO, "ho", {"from": "gpt", "value": "ho"}])
def test_answer_to_a_list_of_messages_may_be_a_list_or_a_message_or_a_text(answer: Any) -> None:
    assert read(*[{"prompt": [HI], "completion": answer}] * 2)[1][0] == CHAT


def test_conversational_prompt_is_never_supervised() -> None:
    _, (row, _) = read(*[{"prompt": [HI, HO, HI], "completion": [HO]}] * 2)
    assert row == Conversation((ASKED, Turn("assistant", "ho"), ASKED, ANSWERED))


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        ({"role": "system", "content": "s"}, Turn("system", "s")),
        ({"role": "developer", "content": "s"}, Turn("system", "s")),
        ({"from": "observation", "value": "1"}, Turn("tool", "1")),
        ({"from": "tool", "value": "1"}, Turn("tool", "1")),
        ({"from": "function_call", "value": "f()"}, Turn("assistant", "f()", supervised=True)),
        ({"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "value": "b"}]},
         Turn("assistant", "ab", supervised=True)),
        ({"role": "assistant", "content": ["a", "b"]}, Turn("assistant", "ab", supervised=True)),
        ({"role": "assistant", "content": "a", "loss_weight": 0.0}, Turn("assistant", "a")),
        ({"role": "assistant", "content": "a", "weight": 0}, Turn("assistant", "a")),
        ({"role": "assistant", "content": "a", "train": False}, Turn("assistant", "a")),
        ({"role": "assistant", "content": "a", "loss": False}, Turn("assistant", "a")),
        ({"role": "assistant", "content": [{"type": "reasoning", "value": "so"}, {"type": "text", "value": "a"}]},
         Turn("assistant", "a", supervised=True, reasoning="so")),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "a"}]},
         Turn("assistant", "a", supervised=True, reasoning="so")),
        ({"role": "tool_response", "content": "1"}, Turn("tool", "1")),
        ({"role": "assistant", "content": "a", "weight": 1.0}, Turn("assistant", "a", supervised=True)),
        ({"role": "assistant", "content": "a", "weight": None}, Turn("assistant", "a", supervised=True)),
        ({"role": "assistant", "content": " "}, Turn("assistant", " ")),
        ({"role": "assistant", "content": None}, Turn("assistant", "")),
        ({"role": "user", "content": "a", "loss_weight": 1.0}, Turn("user", "a")),
    ],
)  # fmt: skip
def test_message_is_read(message: Any, turn: Turn) -> None:
    assert read_record("messages", {"messages": [message, HO]}) == Conversation((turn, ANSWERED))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": "hi"}, "its messages is str, not a list of messages"),
        ({"messages": None}, "its messages is NoneType, not a list of messages"),
        ({"messages": []}, "it has no assistant message to learn"),
        ({"messages": [HI]}, "it has no assistant message to learn"),
        ({"messages": [HO | {"weight": 0}]}, "it has no assistant message to learn"),
        ({"messages": ["hi", HO]}, "its message 1 is str, not an object"),
        ({"messages": [HI, {"role": "narrator", "content": "x"}]}, "its message 2 has the role 'narrator', but"),
        ({"messages": [{"content": "x"}]}, "its message 1 has the role None"),
        ({"messages": [{"role": "user"}, HO]}, "its message 1 has no content"),
        ({"messages": [{"role": "user", "content": {"a": 5}}, HO]}, "its message 1 has content without text"),
        ({"messages": [{"role": "user", "content": [["a"]]}, HO]}, "its message 1 is a list, not text"),
        ({"messages": [HI | {"images": ["a.png"]}, HO]}, "its message 1 has images, and only text can be trained on"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, HO]},
         "its message 1 has content of type 'image_url', and only text can be trained on"),
        ({"messages": [{"role": "user", "content": [{"type": "reasoning", "value": "x"}]}, HO]},
         "its message 1 has content of type 'reasoning', and only text can be trained on"),
        ({"messages": [HI, {"role": "assistant", "content": [{"type": "reasoning"}]}]},
         "its message 2 has content without reasoning"),
        ({"messages": [HI, HO | {"loss_weight": 0.5}]}, "its message 2 has the weight 0.5, and only 0 and 1"),
        ({"messages": [HI, HO], "system": [5]}, "its system is a list, not text"),
    ],
)  # fmt: skip
def test_conversation_that_cannot_be_trained_on_says_why(record: Any, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_record("messages", record)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("form", "record", "reason"),
    [
        ("prompt-completion", {"prompt": "a", "completion": " "}, "its completion is empty"),
        ("prompt-completion", {"prompt": "a", "completion": [HO]}, "its completion is a list, not text"),
        ("prompt-completion", {"prompt": "a"}, "it has no column 'completion', only prompt"),
        ("text", {"text": ""}, "its text is empty"),
        ("text", {"text": {}}, "its text is an empty object"),
        ("text", {"text": None}, "its text is null"),
        ("text", {"text": {"a": 5}}, "its text is an object, not text"),
        ("text", {"text": b"a"}, "its text is a binary value, not text"),
        ("text", {"text": "a\ud83d"}, "its text has half of a character in it"),
        ("alpaca", {"instruction": "a", "output": "b", "history": "x"}, "its history is not a list of pairs of texts"),
        ("alpaca", {"instruction": "a", "output": "b", "history": [["x"]]}, "its history is not a list of pairs"),
    ],
)
def test_row_that_cannot_be_trained_on_says_why(form: str, record: Any, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_record(form, record)
    assert str(caught.value).startswith(reason)


def test_system_column_begins_a_conversation_that_has_no_system_message() -> None:
    messages = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
    record = {"conversations": messages, "system": "be brief"}
    _, (row, _) = read(record, record)
    assert row == Conversation((Turn("system", "be brief"), ASKED, ANSWERED))
    own = {"messages": [{"role": "system", "content": "own"}, HI, HO], "system": "other"}
    assert read(own, own)[1][0] == Conversation((Turn("system", "own"), ASKED, ANSWERED))


def test_rows_of_several_forms_are_told_with_the_way_out() -> None:
    mixed = [{"text": "a"}, {"messages": [HI, HO]}, {"text": "b"}]
    with pytest.raises(DatasetError, match=r"rows.json mixes text \(row 1\) and messages \(row 2\): set data.format"):
        read(*mixed)
    rows = usable_rows(mixed, DataSpec(path="", format="text"), "rows.json")
    assert rows.usable == (PlainText("a"), PlainText("b"))
    assert rows.warning() == "1 row was left out; the first is row 2: it has no column 'text', only messages"


def test_rows_of_another_format_far_down_are_left_out() -> None:
    rows = usable_rows([{"text": "a"}] * 100 + [{"messages": [HI, HO]}], DataSpec(path=""), "rows.json")
    assert (len(rows.usable), [problem.number for problem in rows.passed_over]) == (100, [101])


@pytest.mark.parametrize(
    ("records", "settings", "message"),
    [
        ([{"speech": "a", "reply": "b"}], {}, "row 1 of rows.json has the columns reply, speech: rename them to"),
        ([{"speech": "a"}], {}, "or name their roles in data.columns, such as prompt=COLUMN, completion=COLUMN"),
        (
            [{"chosen": "a", "rejected": "b"}],
            {},
            "rows.json cannot be trained on: row 1: it has chosen and rejected, so",
        ),
        (["a", "b"], {}, "row 1 of rows.json has no columns: it is 'a'"),
        (
            [{"conversations": [{"speaker": "x"}]}],
            {},
            "row 1 of rows.json has the columns conversations, but conversations is [{'speaker': 'x'}], not a list of",
        ),
        ([{"messages": "hi"}], {}, "but messages is 'hi', not a list of messages with role and content"),
        ([{str(number): "" for number in range(50)}], {}, "and 42 more: rename them"),
        (
            [{"instruction": "a", "output": "b"}],
            {"format": "messages"},
            "data.format is messages (messages), but row 1 of rows.json has the columns instruction, output: set "
            "data.format to auto",
        ),
    ],
)
def test_rows_in_no_format_are_described_by_their_columns(records: list[Any], settings: Any, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(*records, **settings)
    assert message in caught.value.message and "\n" not in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            ["messages", "conversations", "role", "from", "content", "value", "type", "text", "weight", "tools",
             "human", "assistant", "tool_calls", "name", "history", "prompt", "completion", "instruction", "output",
             "input", "system"]
        ), inner, max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.sampled_from(sorted(FORMATS)), JSON)
def test_whatever_a_record_is_it_is_a_row_or_says_in_a_line_why_not(form: str, record: Any) -> None:
    try:
        row = read_record(form, record)
    except Unusable as error:
        assert "\n" not in str(error) and str(error).startswith(("it ", "its "))
    else:
        assert isinstance(row, (AlpacaRow, PromptCompletion, Conversation, PlainText))

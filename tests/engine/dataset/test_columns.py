"""Columns beside those that a format requires: used, named, or refused."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.dataset.formats import read_record
from engine.dataset.load import usable_rows
from engine.dataset.rows import AlpacaRow, Conversation, DetectedFormat, PromptCompletion, Row, Turn, Unusable
from engine.errors import DatasetError
from engine.spec.data import DataSpec

ASKED, ANSWERED = Turn("user", "hi"), Turn("assistant", "ho", supervised=True)
CHAT = Conversation((ASKED, ANSWERED))
HI, HO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}
SYSTEM = Turn("system", "be brief")
NUMBERED = (Turn("user", "1"), Turn("assistant", "one", supervised=True))


def read(*records: Any, **settings: Any) -> tuple[DetectedFormat, tuple[Row, ...]]:
    rows = usable_rows(records, DataSpec(path="", **settings), "rows.json")
    return rows.format, rows.usable


@pytest.mark.parametrize(
    ("record", "turns"),
    [
        ({"instruction": "hi", "output": "ho", "system_prompt": "be brief"}, (SYSTEM, ASKED, ANSWERED)),
        ({"question": "hi", "response": "ho", "system_prompt": "be brief"}, (SYSTEM, ASKED, ANSWERED)),
        ({"query": "hi", "response": "ho", "history": [["1", "one"]]}, (*NUMBERED, ASKED, ANSWERED)),
        ({"query": "hi", "response": "ho", "history": '[["1", "one"]]'}, (*NUMBERED, ASKED, ANSWERED)),
        ({"messages": [HI, HO], "system_prompt": "be brief"}, (SYSTEM, ASKED, ANSWERED)),
        ({"prompt": [HI], "completion": [HO], "system": "be brief"}, (SYSTEM, ASKED, ANSWERED)),
        ({"messages": [HI, HO], "system": None, "system_message": "be brief"}, (SYSTEM, ASKED, ANSWERED)),
    ],
)
def test_system_and_history_are_part_of_every_form(record: Any, turns: tuple[Turn, ...]) -> None:
    detected, rows = read(record, record)
    assert (rows[0], detected.unused) == (Conversation(turns), ())


def test_one_row_with_a_system_message_makes_all_rows_conversations() -> None:
    plain = {"instruction": "hi", "output": "ho"}
    records = [plain, plain | {"system": "be brief"}]
    detected, rows = read(*records)
    assert rows == (CHAT, Conversation((SYSTEM, ASKED, ANSWERED)))
    assert detected.remarks() == ["read as conversations, as some have a system message"]
    more = plain | {"reasoning": "so", "history": [["1", "one"]]}
    assert read(plain, more)[0].remarks() == ["read as conversations, as some have a history and reasoning"]
    assert read(plain, plain)[0].remarks() == []
    assert read(*records, prompt_template="chat_template")[1] == (
        AlpacaRow("hi", "ho"),
        AlpacaRow("hi", "ho", "", "be brief"),
    )


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ({"question": "q", "answer": "a", "context": "c"}, PromptCompletion("q", "a", "c")),
        ({"prompt": "q", "completion": "a", "input": "c"}, PromptCompletion("q", "a", "c")),
        ({"instruction": "q", "answer": "a", "input": "c"}, PromptCompletion("q", "a", "c")),
        ({"input": "q", "output": "a", "context": "c"}, PromptCompletion("q", "a", "c")),
        ({"instruction": "q", "output": "a", "input": "", "context": "c"}, AlpacaRow("q", "a", "c")),
        ({"content": "q", "summary": "a"}, PromptCompletion("q", "a")),
        ({"input": "q", "target": "a"}, PromptCompletion("q", "a")),
    ],
)
def test_context_and_other_names_are_part_of_every_form(record: Any, row: Row) -> None:
    detected, rows = read(record, record)
    assert (rows[0], detected.unused) == (row, ())


@pytest.mark.parametrize(
    ("record", "unused"),
    [
        ({"instruction": "a", "output": "b", "id": 0, "category": "c", "note": "", "tags": []}, "category id"),
        ({"prompt": "a", "question": "b", "completion": "c"}, "question"),
        ({"question": "a", "answer": "b", "input": "c", "context": "d"}, "context"),
        ({"messages": [HI, HO], "conversations": [HI]}, "conversations"),
        ({"messages": [{"role": "system", "content": "own"}, HI, HO], "system": "other"}, "system"),
        ({"messages": [HI | {"name": "Al", "x": None}, HO | {"refusal": "so"}]},
         "messages.name messages.refusal"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache": 1}]}, HO]},
         "messages.content.cache"),
        ({"prompt": [HI], "completion": [HO], "context": "c"}, "context"),
        ({"text": "a", "system": "b", "label": True}, "label system"),
    ],
)  # fmt: skip
def test_columns_that_hold_something_unused_are_named(record: Any, unused: str) -> None:
    detected, _ = read({key: value for key, value in record.items() if value}, record)
    assert detected.unused == tuple(unused.split())
    assert detected.remarks() == [f"not used: {', '.join(detected.unused)}"]


def test_list_that_is_empty_in_json_is_not_named() -> None:
    record = {"messages": [HI, HO], "tools": "[]", "images": "[]"}
    assert read(record, record)[0].unused == ()


def test_unused_columns_of_rows_left_out_are_not_named() -> None:
    assert read({"text": "a"}, {"text": "b"}, {"text": "", "id": 1})[0].unused == ()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"label": False}, "its label is false, so it is preference data"),
        ({"kto_tag": "True"}, "its kto_tag is true, so it is preference data"),
        ({"chosen": "c", "rejected": "d"}, "it has chosen and rejected, so it is preference data"),
        ({"rejected_response": "d"}, "it has rejected_response, so it is preference data"),
        ({"chosen_messages": [HI, HO]}, "it has chosen_messages, so it is preference data"),
        ({"images": ["a.png"]}, "it has images, and only text can be trained on"),
        ({"video": "a.mp4"}, "it has video, and only text can be trained on"),
        ({"audio": {"bytes": b"a"}}, "it has audio, and only text can be trained on"),
    ],
)
@pytest.mark.parametrize(
    "record",
    [{"prompt": "a", "completion": "b"}, {"instruction": "a", "output": "b"}, {"messages": [HI, HO]}],
    ids=["prompt-completion", "alpaca", "messages"],
)
def test_columns_that_change_the_meaning_are_refused(record: Any, columns: Any, reason: str) -> None:
    with pytest.raises(DatasetError, match=f"0 usable rows.*; row 1: {reason}.*remove the"):
        read(record | columns, record | columns)
    assert read(record, record | dict.fromkeys(columns), record | columns)[1][1] == read(record, record)[1][0]


def test_label_that_is_no_verdict_is_only_named() -> None:
    record = {"prompt": "a", "completion": "b", "label": "sports"}
    assert read(record, record)[0].unused == ("label",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1.5, "1.5"), (False, "false"), (True, "true"), (float("nan"), "NaN"), (10**30, f"1{'0' * 30}"),
        (date(2024, 2, 29), "2024-02-29"), (datetime(2024, 2, 29, 12), "2024-02-29T12:00:00"),
        (Decimal("1.50"), "1.50"),
    ],
)  # fmt: skip
def test_value_that_is_no_text_is_written_as_json_writes_it(value: Any, text: str) -> None:
    assert read_record("prompt-completion", {"prompt": value, "completion": value}, set(), set()) == PromptCompletion(
        text, text
    )
    assert read_record("alpaca", {"instruction": "a", "output": value, "input": value}, set(), set()) == AlpacaRow(
        "a", text, text
    )
    message = {"role": "assistant", "content": value}
    assert read_record("messages", {"messages": [message]}, set(), set()) == Conversation(
        (Turn("assistant", text, True),)
    )


@pytest.mark.parametrize(
    "history", ["x", [["x"]], [["a", "b", "c"]], ["ab"], {"a": "b"}, [["a", ["b"]]], [["a", "\ud83d"]]]
)
def test_history_that_cannot_be_read_is_named(history: Any) -> None:
    with pytest.raises(Unusable, match=r"its history (is|has)"):
        read_record("alpaca", {"instruction": "a", "output": "b", "history": history}, set(), set())


def test_history_holds_values_of_any_kind() -> None:
    row = read_record("alpaca", {"instruction": "a", "output": "b", "history": [[1, True], ["c", None]]}, set(), set())
    assert row == AlpacaRow("a", "b", history=(("1", "true"), ("c", "")))


def test_name_of_a_column_may_be_anything() -> None:
    detected = read({"text": "a", "\ud83d": 1}, {"text": "b", "x" * 99: 1})[0]
    assert json.loads(msgspec.json.encode(detected))["unused"] == ["\\ud83d", "x" * 99]
    assert detected.remarks() == [f"not used: \\ud83d, {'x' * 40}"]

"""Columns named by hand in `data.columns`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.dataset.column_map import read_beside
from engine.dataset.load import count_rows, usable_rows
from engine.dataset.rows import Conversation, DetectedFormat, PromptCompletion, Row, Turn
from engine.errors import DatasetError, LoratuiError, SpecError
from engine.spec.data import DataSpec
from engine.spec.fields import parse_value
from tests.support.rounds import write_rows

HI = {"role": "user", "content": "hi"}
HO = {"role": "assistant", "content": "ho"}
ASKED, ANSWERED = Turn("user", "hi"), Turn("assistant", "ho", supervised=True)

CHAT = Conversation((ASKED, ANSWERED))


def read(columns: str | None, *records: Any, **settings: Any) -> tuple[DetectedFormat, tuple[Row, ...]]:
    rows = usable_rows(records, DataSpec(path="", columns=columns, **settings), "rows.json")
    return rows.format, rows.usable


@pytest.mark.parametrize(
    ("columns", "record", "row", "roles"),
    [
        ("prompt=title, completion=Best Answer", {"title": "hi", "Best Answer": "ho"},
         PromptCompletion("hi", "ho"), {"prompt": "title", "completion": "Best Answer"}),
        ("completion=b=c", {"prompt": "hi", "b=c": "ho"},
         PromptCompletion("hi", "ho"), {"prompt": "prompt", "completion": "b=c"}),
        ("prompt=title", {"title": "hi", "answer": "ho", "context": "c"},
         PromptCompletion("hi", "ho", "c"), {"prompt": "title", "completion": "answer", "input": "context"}),
        ("prompt=a,completion=b", {"a": "hi", "b": "ho", "instruction": "no", "output": "no"},
         PromptCompletion("hi", "ho"), {"prompt": "a", "completion": "b"}),
        ("prompt=output, completion=instruction", {"instruction": "ho", "output": "hi"},
         PromptCompletion("hi", "ho"), {"prompt": "output", "completion": "instruction"}),
        ("input=c", {"prompt": "hi", "completion": "ho", "c": "in", "context": "no"},
         PromptCompletion("hi", "ho", "in"), {"prompt": "prompt", "completion": "completion", "input": "c"}),
        ("completion=chosen", {"prompt": "hi", "chosen": "ho", "rejected": "no"},
         PromptCompletion("hi", "ho"), {"prompt": "prompt", "completion": "chosen"}),
        ("messages=talk, messages.role=who, messages.content=words",
         {"talk": [{"who": "user", "words": "hi", "role": 7}, {"who": "assistant", "words": "ho"}]},
         Conversation((ASKED, ANSWERED)), {"messages": "talk"}),
    ],
    ids=["both", "equals sign", "one", "other format", "swapped", "optional", "preference", "messages"],
)  # fmt: skip
def test_columns_are_read_in_the_roles_named(columns: str, record: Any, row: Row, roles: dict[str, str]) -> None:
    detected, rows = read(columns, record, record)
    assert rows == (row, row)
    assert detected.roles == roles


def test_columns_whose_place_another_takes_are_named_as_not_used() -> None:
    record = {"prompt": "no", "title": "hi", "answer": "ho", "id": 1}
    detected, _ = read("prompt=title", record, record)
    assert detected.unused == ("id", "prompt")
    assert str(detected) == "prompt-completion rows (prompt: title, completion: answer)"
    record = {"prompt": "hi", "chosen": "ho", "rejected": "no"}
    assert read("completion=chosen", record, record)[0].unused == ("rejected",)
    message = {"who": "user", "words": "hi", "role": 7}
    record = {"messages": [message, {"who": "assistant", "words": "ho"}]}
    assert read("messages.role=who, messages.content=words", record, record)[0].unused == ("messages.role",)


def test_format_says_which_column_was_taken_for_what() -> None:
    record = {"query": "hi", "response": "ho", "system_prompt": "be brief", "thinking": "so"}
    detected, _ = read(None, record, record)
    roles = {"prompt": "query", "completion": "response", "system": "system_prompt", "reasoning": "thinking"}
    assert detected.roles == roles
    shown = "prompt-completion rows (prompt: query, completion: response, system: system_prompt, reasoning: thinking)"
    assert str(detected) == shown


@pytest.mark.parametrize(
    ("record", "columns", "row"),
    [
        ({"prompt": "hi", "chosen": "ho", "rejected": "no"}, "completion=chosen", PromptCompletion("hi", "ho")),
        ({"prompt": "hi", "chosen": [HI, HO], "rejected": [HI]}, "messages=chosen", CHAT),
        ({"prompt": [HI], "chosen": [HO], "rejected": [HI]}, "completion=chosen", CHAT),
        ({"chosen_messages": [HI, HO], "rejected_messages": [HI]}, "messages=chosen_messages", CHAT),
        ({"conversations": [HI], "chosen": HO, "rejected": HI}, "prompt=conversations, completion=chosen", CHAT),
        ({"conversations": [HI], "chosen": "ho", "rejected": "no"}, "prompt=conversations, completion=chosen", CHAT),
        ({"messages": [HI, HO], "rejected_response": "no"}, "messages=messages", CHAT),
        ({"query": "hi", "response": "ho", "rejected_response": "no"}, "completion=response",
         PromptCompletion("hi", "ho")),
    ],
)  # fmt: skip
def test_better_answer_is_learned_with_the_columns_that_the_error_names(record: Any, columns: str, row: Row) -> None:
    with pytest.raises(DatasetError, match=rf"name it in data.columns, such as {columns}, or remove the others"):
        read(None, record, record)
    detected, rows = read(columns, record, record)
    assert rows == (row, row)
    assert next(name for name in record if name.startswith("rejected")) in detected.unused


def test_name_of_a_column_may_have_capitals_and_spaces() -> None:
    record = {"qtype": "x", "Question": "hi", " Answer ": "ho", "CONTEXT": "in"}
    detected, rows = read(None, record, {"Question": "a", " Answer ": "b"})
    assert rows == (PromptCompletion("hi", "ho", "in"), PromptCompletion("a", "b"))
    assert detected.roles == {"prompt": "Question", "completion": " Answer ", "input": "CONTEXT"}
    assert detected.unused == ("qtype",)
    record = {"Question": "no", "question": "hi", "answer": "ho"}
    detected, rows = read(None, record, record)
    assert (rows[0], detected.unused) == (PromptCompletion("hi", "ho"), ("Question",))
    detected, rows = read("completion=Question", *[{"Prompt": "hi", "Question": "ho"}] * 2)
    assert rows[0] == PromptCompletion("hi", "ho")


def test_row_without_an_optional_column_is_read_without_it() -> None:
    rows = {"prompt": "hi", "completion": "ho", "c": "in"}, {"prompt": "hi", "completion": "ho"}
    assert read("input=c", *rows)[1] == (PromptCompletion("hi", "ho", "in"), PromptCompletion("hi", "ho"))


def test_dot_leads_into_an_object() -> None:
    record = {"id": 1, "translation": {"en": "hi", "de": "ho", "fr": "no", "ro": ""}}
    detected, (row, _) = read("prompt=translation.en, completion=translation.de", record, record)
    assert row == PromptCompletion("hi", "ho")
    assert str(detected) == "prompt-completion rows (prompt: translation.en, completion: translation.de)"
    assert detected.unused == ("id", "translation.fr")
    dotted = {"a.b": "hi", "a": {"b": "no"}, "completion": "ho"}
    assert read("prompt=a.b", dotted, dotted)[1][0] == PromptCompletion("hi", "ho")
    nothing = record | {"translation": None}
    assert read("prompt=translation.en, completion=translation.de", record, record, nothing)[1] == (row, row)
    for columns in (None, "prompt=translation.it"):
        with pytest.raises(DatasetError, match=r"(has the columns|has only) id, translation.de, translation.en, "):
            read(columns, record, record)


def test_key_that_no_message_has_is_named() -> None:
    with pytest.raises(DatasetError) as caught:
        read("messages.role=who", *[{"messages": [HI, HO]}] * 2)
    message = "data.columns is messages.role=who, but the first message of rows.json has only content, role: name one"
    assert caught.value.message.startswith(message)


def test_of_several_columns_of_a_role_the_first_that_is_there_is_read() -> None:
    columns = "prompt=ask, prompt=title, completion=reply, messages.content=words, messages.content=text"
    detected, rows = read(columns, *[{"title": "hi", "ask": "a", "reply": "ho"}] * 2)
    assert (rows[0], detected.unused) == (PromptCompletion("a", "ho"), ("title",))
    assert read(columns, *[{"title": "hi", "reply": "ho"}] * 2)[1][0] == PromptCompletion("hi", "ho")
    columns = columns.replace("prompt=ask, prompt=title, completion=reply, ", "")
    messages = [{"role": "user", "text": "hi", "content": "no"}, {"role": "assistant", "text": "ho"}]
    assert read(columns, *[{"messages": messages}] * 2)[1][0] == CHAT


def test_other_data_needs_no_column_of_those_named() -> None:
    data = DataSpec(path="", columns="prompt=title, completion=reply, completion=said, messages.role=who")

    def read_other(record: Any) -> Row:
        return read_beside(lambda data: usable_rows([record] * 2, data, "rows.json"), data).usable[0]

    assert read_other({"title": "hi", "said": "ho"}) == PromptCompletion("hi", "ho")
    assert read_other({"title": "hi", "answer": "ho"}) == PromptCompletion("hi", "ho")
    assert read_other({"question": "hi", "answer": "ho"}) == PromptCompletion("hi", "ho")
    assert read_other({"messages": [HI, HO]}) == CHAT
    with pytest.raises(DatasetError, match=r"row 1 of rows.json has the columns speech: rename them"):
        read_other({"speech": "hi"})


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        (
            "prompt=titel",
            {},
            "data.columns is prompt=titel, but row 1 of rows.json has only answer, title: name one of",
        ),
        (
            "prompt=titel, prompt=x",
            {},
            "data.columns is prompt=titel, prompt=x, but row 1 of rows.json has only answer, ",
        ),
        ("prompt=title, output=answer", {}, "data.columns names prompt and output, which no format has: correct one"),
        (
            "text=title",
            {"format": "alpaca"},
            "data.columns names text, which data.format alpaca does not have: correct one",
        ),
        ("instruction=title", {}, "with data.columns instruction=title, row 1 of rows.json has the columns answer, "),
    ],
)
def test_refusals_name_the_column(columns: str, settings: Any, message: str) -> None:
    record = {"title": "hi", "answer": "ho"}
    with pytest.raises(LoratuiError) as caught:
        read(columns, record, record, **settings)
    assert message in caught.value.message
    assert isinstance(caught.value, DatasetError) or (
        isinstance(caught.value, SpecError) and caught.value.key == "data.columns"
    )


def test_counted_rows_are_read_in_the_roles_named(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl")
    for columns in (None, "prompt=output, completion=instruction"):
        counted = count_rows(file, DataSpec(str(file), columns=columns))
        assert counted.format.name == ("alpaca" if columns is None else "prompt-completion")


@pytest.mark.parametrize("text", ["prompt", "question=prompt", "prompt=", "prompt=a,", "prompt=a,=b", "=a"])
def test_text_that_is_no_pairs_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="it must be pairs such as prompt=question, completion=answer; the roles are"):
        parse_value("data.columns", text)

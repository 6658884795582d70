from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.formats import read_record
from engine.dataset.rows import Conversation, Turn, Unusable
from engine.dataset.tools import read_calls, read_tools

ASKED, ANSWERED = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def called(arguments: Any, **more: Any) -> list[dict[str, Any]]:
    return [{**more, "type": "function", "function": {"name": "f", "arguments": arguments}}]


@pytest.mark.parametrize(
    "tools",
    [
        [TOOL],
        TOOL,
        [TOOL["function"]],
        json.dumps([TOOL]),
        [TOOL | {"strict": None}],
        [{"type": "function", "function": {"name": "f", "description": None, "parameters": {"type": "object"}}}],
    ],
)
def test_tools_are_read_in_each_spelling(tools: Any) -> None:
    assert json.loads(read_tools("tools", tools)) == [TOOL]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (called({"a": 1}), called({"a": 1})),
        (called('{"a": 1}'), called({"a": 1})),
        (called('{"a": null}'), called({"a": None})),
        (called({"a": 1, "b": None}), called({"a": 1})),
        (called(None), called({})),
        (called(""), called({})),
        (called("not JSON", id="x"), called("not JSON", id="x")),
        ([{"name": "f", "arguments": {"a": 1}}], called({"a": 1})),
        ({"name": "f", "parameters": {"a": 1}}, called({"a": 1})),
        ([json.dumps({"name": "f", "arguments": {"a": 1}})], called({"a": 1})),
        (json.dumps(called({"a": 1})), called({"a": 1})),
    ],
)
def test_calls_are_read_in_each_spelling(calls: Any, expected: Any) -> None:
    assert json.loads(read_calls("its message 2", calls)) == expected


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [ASKED, ANSWERED], "tools": "none"}, "its tools is 'none', not a list of functions"),
        ({"messages": [ASKED, ANSWERED], "tools": [5]}, "its tools is [5], not a list of functions"),
        ({"messages": [ASKED, ANSWERED], "tools": [{"description": "x"}]}, "its tools have a function without a name"),
        ({"messages": [ASKED, ANSWERED | {"tool_calls": "f"}]}, "its message 2 has the tool calls 'f', not a list"),
        ({"messages": [ASKED, ANSWERED | {"tool_calls": [{}]}]}, "its message 2 has the tool calls [{}], not a list"),
        ({"messages": [ASKED, {"role": "tool"}, ANSWERED]}, "its message 2 has no content"),
        ({"messages": [ASKED, ANSWERED], "tools": [{"name": "\ud83d"}]}, "its tools cannot be written as JSON"),
    ],
)
def test_tools_that_cannot_be_read_are_named(record: Any, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_record("messages", record, set(), set())
    assert str(caught.value).startswith(reason)


def turns_of(*messages: Any) -> tuple[Turn, ...]:
    row = read_record("messages", {"messages": list(messages)}, set(), set())
    assert isinstance(row, Conversation)
    return row.turns


def test_results_name_their_call() -> None:
    calls = ANSWERED | {"content": None, "tool_calls": called({}, id="c0")}
    result = {"role": "tool", "name": "f", "tool_call_id": "c0", "content": {"at": [1, "ü"]}}
    turns = turns_of(ASKED, calls, result)
    assert turns[1:] == (
        Turn("assistant", "", True, json.dumps(called({}, id="c0"), separators=(",", ":"))),
        Turn("tool", '{"at":[1,"ü"]}', name="f", tool_call_id="c0"),
    )


@pytest.mark.parametrize("text", ["f()", '{"find": 1}', "[1]", "[]", '"f"', '{"name": 1}'])
def test_call_that_is_no_json_stays_text(text: str) -> None:
    turns = turns_of(ASKED, {"from": "function_call", "value": text})
    assert turns[1] == Turn("assistant", text, True)


@pytest.mark.parametrize(
    "message",
    [
        {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1}}'},
        {"role": "tool_call", "content": '{"name": "f", "arguments": "{\\"a\\": 1}"}'},
        {"role": "assistant", "content": [{"type": "tool_call", "value": '{"name": "f", "arguments": {"a": 1}}'}]},
    ],
)
def test_call_in_the_content_is_a_call(message: Any) -> None:
    calls = json.dumps(called({"a": 1}), separators=(",", ":"))
    assert turns_of(ASKED, message)[1] == Turn("assistant", "", True, calls)


def test_calls_in_messages_of_their_own_are_one_turn_with_the_answer_before_them() -> None:
    call = {"role": "tool_call", "content": '{"name": "f", "arguments": {}}'}
    one, two = (json.dumps(called({}) * count, separators=(",", ":")) for count in (1, 2))
    assert turns_of(ASKED, call, call)[1:] == (Turn("assistant", "", True, two),)
    assert turns_of(ASKED, ANSWERED, call)[1:] == (Turn("assistant", "ho", True, one),)
    assert turns_of(ASKED, ANSWERED | {"loss": False}, call, ANSWERED)[1] == Turn("assistant", "ho", False, one)
    assert turns_of(ASKED, ANSWERED | {"content": ""}, call)[1:] == (Turn("assistant", "", True, one),)


def test_part_that_is_no_call_is_named() -> None:
    with pytest.raises(Unusable, match=r"its message 2 has the tool calls .*, not a list of functions"):
        turns_of(ASKED, {"role": "assistant", "content": [{"type": "tool_call", "value": "f()"}]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "function", "arguments", "type", "id"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(JSON)
def test_whatever_a_call_is_it_is_read_or_named(value: Any) -> None:
    for read in (read_tools, read_calls):
        try:
            read("it", value)
        except Unusable as error:
            assert "\n" not in str(error)

"""Tools, calls and results as the tokens that the library itself gives for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.dataset.load import usable_rows
from engine.errors import DatasetError
from engine.spec.data import DataSpec
from engine.training.data.tokenize import Example, tokenise
from tests.support.chat_tokens import chat_tokenizer, parts

DATA = DataSpec(path="rows.jsonl")
# As Qwen2.5's, but for its long sentences about tools.
WITH_TOOLS = """\
{%- if tools %}{{- '<|im_start|>system\\n' }}
{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- endif %}
{{- '# Tools' }}{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}{{- '<|im_end|>\\n' }}
{%- elif messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}{{- '<|im_start|>assistant' }}
{%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
{%- for call in message.tool_calls %}{%- if call.function is defined %}{%- set call = call.function %}{%- endif %}
{{- '\\n<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}{{- call.arguments | tojson }}
{{- '}\\n</tool_call>' }}
{%- endfor %}{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FUNCTION = {
    "name": "find",
    "description": "Say where a thing is",
    "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}},
}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "c0", "type": "function", "function": {"name": "find", "arguments": {"thing": "lamp"}}}
ASKED, ANSWERED = {"role": "user", "content": "Find it"}, {"role": "assistant", "content": "in the garden"}
# What the library is given for all of these rows.
MESSAGES = [
    ASKED,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "garden", "tool_call_id": "c0"},
    ANSWERED,
]
WITH_JSON_ARGUMENTS = CALL | {"function": {"name": "find", "arguments": '{"thing": "lamp"}'}}
FROM_PARQUET = {
    "id": "c0", "type": "function", "function": {"name": "find", "arguments": {"thing": "lamp", "place": None}},
}  # fmt: skip
SHAREGPT = [
    {"from": "human", "value": "Find it"},
    {"from": "function_call", "value": '{"name": "find", "arguments": {"thing": "lamp"}}'},
    {"from": "observation", "value": "garden"},
    {"from": "gpt", "value": "in the garden"},
]
OPENAI = [ASKED, {"role": "assistant", "content": None, "tool_calls": [WITH_JSON_ARGUMENTS]}, MESSAGES[2], ANSWERED]


def learn(record: dict[str, Any], template: str = WITH_TOOLS) -> tuple[Any, Example]:
    tokenizer = chat_tokenizer(template)
    return tokenizer, tokenise(usable_rows([record, record], DATA, "rows.jsonl").usable, tokenizer, DATA).examples[0]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": MESSAGES, "tools": [TOOL]},
        {"messages": OPENAI, "tools": [TOOL]},
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [CALL]}, *MESSAGES[2:]], "tools": [FUNCTION]},
        {"messages": json.dumps(OPENAI), "tools": json.dumps([TOOL])},
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [FROM_PARQUET]}, *MESSAGES[2:]], "tools": [TOOL]},
        {"messages": [ASKED, {"role": "assistant", "function_call": {"name": "find", "arguments": '{"thing": "lamp"}'}},
                      {"role": "function", "name": "find", "content": "garden"}, ANSWERED], "functions": [FUNCTION]},
        {"conversations": SHAREGPT, "tools": json.dumps([FUNCTION])},
        {"prompt": [ASKED], "completion": OPENAI[1:], "tools": [TOOL | {"strict": None}]},
    ],
    ids=["messages", "openai", "no-content", "packed", "parquet", "functions", "sharegpt", "prompt-completion"],
)  # fmt: skip
def test_tools_calls_and_results_have_the_tokens_the_library_gives(record: dict[str, Any]) -> None:
    tokenizer, example = learn(record)
    assert example.tokens.tolist() == tokenizer.apply_chat_template(MESSAGES, tools=[TOOL])["input_ids"]
    call = '<tool_call>\n{"name": "find", "arguments": {"thing": "lamp"}}\n</tool_call><|im_end|>'
    assert parts(tokenizer, example) == [call, "in the garden<|im_end|>"]


@pytest.mark.parametrize("record", [{"instruction": "Find it", "output": "in the garden"},
                                    {"question": "Find it", "answer": "in the garden"}])  # fmt: skip
def test_tools_of_a_row_of_texts_are_used(record: dict[str, Any]) -> None:
    tokenizer, example = learn(record | {"tools": [TOOL]})
    assert example.tokens.tolist() == tokenizer.apply_chat_template([ASKED, ANSWERED], tools=[TOOL])["input_ids"]
    assert parts(tokenizer, example) == ["in the garden<|im_end|>"]


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"messages": [ASKED, ANSWERED], "tools": [TOOL]}, "tools"),
        ({"messages": OPENAI}, "tool calls"),
        ({"conversations": SHAREGPT}, "tool calls"),
    ],
)
def test_template_that_leaves_tools_out_is_named(record: dict[str, Any], part: str) -> None:
    with pytest.raises(
        DatasetError, match=f"2 of 2 rows .*: the model's chat template does not write its {part}: take"
    ):
        learn(record, CHATML)


def test_template_that_leaves_results_out_is_named() -> None:
    template = WITH_TOOLS.replace("message.content + '\\n</tool_response>'", "'</tool_response>'")
    with pytest.raises(DatasetError, match="does not write its tool results"):
        learn({"messages": OPENAI, "tools": [TOOL]}, template)

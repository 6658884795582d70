"""Reasoning before an answer: learned with it, only shown, or left out."""

from __future__ import annotations

from typing import Any

import pytest

from engine.dataset.load import usable_rows
from engine.errors import DatasetError
from engine.spec.data import DataSpec
from engine.training.data.tokenize import Example, tokenise
from tests.support.chat_tokens import chat_tokenizer, parts

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Qwen3: the reasoning of earlier answers is not written.
REASONING = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.role == 'assistant' and message.reasoning_content is string and loop.last %}"
    "{{ '<think>\n' + message.reasoning_content.strip('\n') + '\n</think>\n\n' }}{% endif %}"
    "{{ message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% if message.role == 'assistant' %}"
    "{% generation %}{% if message.thinking %}{{ '<think>\n' + message.thinking + '\n</think>\n\n' }}{% endif %}"
    "{{ message.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}"
    "{{ message.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETFUL = CHATML.replace("message['content']", "message['content'].split('</think>')[-1].strip()")
USER, ANSWER = {"role": "user", "content": "Say it"}, {"role": "assistant", "content": "a lamp"}
THOUGHT = "it is a lamp"
IN_CONTENT = f"<think>\n{THOUGHT}\n</think>\n\na lamp"
RECORDS: list[dict[str, Any]] = [
    {"messages": [USER, ANSWER | {"reasoning_content": THOUGHT}]},
    {"messages": [USER, ANSWER | {"thinking": THOUGHT, "reasoning_content": None}]},
    {"conversations": [{"from": "human", "value": "Say it"}, {"from": "gpt", "value": "a lamp", "reasoning": THOUGHT}]},
    {"instruction": "Say it", "output": "a lamp", "reasoning_content": THOUGHT},
    {"question": "Say it", "answer": "a lamp", "thinking": THOUGHT},
    {"messages": [USER, ANSWER | {"content": IN_CONTENT}]},
]


def learn(record: dict[str, Any], template: str, reasoning: Any) -> tuple[Any, Example]:
    tokenizer = chat_tokenizer(template)
    data = DataSpec(path="rows.jsonl", reasoning=reasoning)
    return tokenizer, tokenise(usable_rows([record, record], data, "rows.jsonl").usable, tokenizer, data).examples[0]


@pytest.mark.parametrize("template", [CHATML, REASONING, MARKED], ids=["chatml", "reasoning", "marked"])
@pytest.mark.parametrize("record", RECORDS)
def test_reasoning_is_learned_shown_or_left_out(record: dict[str, Any], template: str) -> None:
    tokenizer = chat_tokenizer(template)
    whole = tokenizer.apply_chat_template([USER, ANSWER | {"content": IN_CONTENT}])["input_ids"]
    without = tokenizer.apply_chat_template([USER, ANSWER])["input_ids"]
    if template != CHATML:
        assert whole == tokenizer.apply_chat_template([USER, ANSWER | {"reasoning_content": THOUGHT}])["input_ids"]
    expected = {
        "learned": (whole, f"{IN_CONTENT}<|im_end|>"),
        "shown": (whole, "a lamp<|im_end|>"),
        "left_out": (without, "a lamp<|im_end|>"),
    }
    for reasoning, (tokens, learned) in expected.items():
        tokenizer, example = learn(record, template, reasoning)
        assert (example.tokens.tolist(), parts(tokenizer, example)) == (tokens, [learned])


@pytest.mark.parametrize("record", RECORDS)
def test_template_that_leaves_reasoning_out_is_named(record: dict[str, Any]) -> None:
    for reasoning in ("learned", "shown"):
        with pytest.raises(DatasetError, match=r"does not write its reasoning: set data.reasoning to left_out"):
            learn(record, FORGETFUL, reasoning)
    tokenizer, example = learn(record, FORGETFUL, "left_out")
    assert parts(tokenizer, example) == ["a lamp<|im_end|>"]


def test_earlier_answer_whose_reasoning_is_not_written_again_is_not_learned() -> None:
    thoughtful = ANSWER | {"reasoning_content": THOUGHT}
    tokenizer, example = learn({"messages": [USER, thoughtful, USER, thoughtful]}, REASONING, "learned")
    assert parts(tokenizer, example) == [f"{IN_CONTENT}<|im_end|>"]
    tokenizer, example = learn({"messages": [USER, thoughtful, USER, thoughtful]}, REASONING, "left_out")
    assert parts(tokenizer, example) == ["a lamp<|im_end|>"] * 2


def test_reasoning_of_others_is_named() -> None:
    record = {"messages": [USER | {"reasoning_content": "x"}, ANSWER]}
    rows = usable_rows([record, record], DataSpec(path="rows.jsonl"), "rows.jsonl")
    assert rows.format.unused == ("messages.reasoning_content",)

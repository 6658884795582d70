"""Write how rows of public datasets are read into docs/data.md: `python -m scripts.data_forms`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine.dataset.load import usable_rows
from engine.errors import DatasetError
from engine.spec.data import DataSpec
from scripts.pages import DOCS, Part

PART = Part(DOCS / "data.md", "<!-- data forms: written by scripts/data_forms.py -->", "<!-- end of data forms -->")

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
HUMAN, GPT = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}
CALL = {"type": "function", "function": {"name": "now", "arguments": {}}}

# Each is a row as datasets of the hub have it, whose name stands before it.
ROWS: Mapping[str, dict[str, Any]] = {
    "tatsu-lab/alpaca": {"instruction": "Add.", "input": "1, 2", "output": "3", "text": "Below is …"},
    "databricks/databricks-dolly-15k": {
        "instruction": "Who?",
        "context": "Ada wrote.",
        "response": "Ada",
        "category": "qa",
    },
    "openai/gsm8k": {"question": "1 + 2?", "answer": "3"},
    "Open-Orca/OpenOrca": {"id": "1", "system_prompt": "Be brief.", "question": "1 + 2?", "response": "3"},
    "Samsung/samsum": {"id": "1", "dialogue": "A: Hi", "summary": "A greets."},
    "AdvertiseGen": {"content": "shirt, red", "summary": "A red shirt."},
    "LLaMA-Factory": {"instruction": "And 2?", "input": "", "output": "3", "system": "Add.", "history": [["1?", "2"]]},
    "HuggingFaceH4/ultrachat_200k": {"prompt": "Hi", "prompt_id": "1", "messages": [USER, ANSWER]},
    "HuggingFaceH4/no_robots": {
        "messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER],
        "category": "Chat",
    },
    "OpenAI, with tools": {
        "messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "12:00"}, ANSWER],
        "tools": [{"type": "function", "function": {"name": "now"}}],
    },
    "ms-swift, with tools": {
        "tools": '[{"type": "function", "function": {"name": "now"}}]',
        "messages": [
            USER,
            {"role": "tool_call", "content": '{"name": "now", "arguments": {}}'},
            {"role": "tool_response", "content": '{"time": "12:00"}'},
            ANSWER,
        ],
    },
    "reasoning": {"messages": [USER, ANSWER | {"reasoning_content": "A greeting."}]},
    "ShareGPT": {"id": "1", "conversations": [HUMAN, GPT]},
    "ShareGPT, with a system column": {"system": "Be brief.", "conversations": [HUMAN, GPT]},
    "Firefly, ms-swift, XTuner": {"conversation": [{"human": "Hi", "assistant": "Hello"}]},
    "LLaMA-Factory, in parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "value": "Hi"}], "loss_weight": 0.0},
            {
                "role": "assistant",
                "content": [{"type": "reasoning", "value": "A greeting."}, {"type": "text", "value": "Hello"}],
                "loss_weight": 1.0,
            },
        ]
    },
    "keivalya/MedQuad-MedicalQnADataset": {"qtype": "sum", "Question": "1 + 2?", "Answer": "3"},
    "TRL, conversational": {"prompt": [USER], "completion": [ANSWER]},
    "roneneldan/TinyStories": {"text": "Once upon a time"},
    "trl-lib/kto-mix-14k": {"prompt": [USER], "completion": [ANSWER], "label": False},
    "trl-lib/ultrafeedback_binarized": {"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]},
    "images": {"messages": [USER, ANSWER], "images": ["a.png"]},
}


def table() -> str:
    """Return a Markdown table with a line for each of `ROWS`."""
    lines = [
        f"| {name} | `{_cell(json.dumps(row, ensure_ascii=False))}` | {_cell(reading(row))} |"
        for name, row in ROWS.items()
    ]
    return "\n".join(["| as in | a row | how it is read |", "|---|---|---|", *lines])


def reading(row: dict[str, Any]) -> str:
    """Return what loratui says of a file of such rows, or why it refuses them."""
    try:
        rows = usable_rows([row] * 2, DataSpec("rows.jsonl"), "rows.jsonl")
    except DatasetError as error:
        return f"refused: {error}"
    return "; ".join([str(rows.format), *rows.format.remarks()])


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    PART.write(table())

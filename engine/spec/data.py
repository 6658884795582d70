"""Define what a spec says of the rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

# Of str.format's language only these names are allowed, so that no row or spec can reach into an object.
PROMPT_TEMPLATE = (
    r"^(auto|alpaca|chat_template|(?=([^{}]|\{\{|\}\}|\{input\})*\{(instruction|prompt)\})"
    r"([^{}]|\{\{|\}\}|\{(instruction|input|prompt)\})*)\Z"
)
ROLE = (
    r"(instruction|output|prompt|completion|input|system|history|tools|reasoning|text|messages|messages\.role|"
    r"messages\.content)"
)
DataFormat = Literal["auto", "alpaca", "sharegpt", "messages", "prompt-completion", "text"]
CHAT_TEMPLATES = ("chatml", "llama3", "gemma", "qwen", "mistral", "phi", "zephyr")
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class DataSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The rows, their split, and which of their tokens are learned."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="Training data: a file of rows or text, a directory, a pattern such as data/*.jsonl, or a hub "
            "dataset.",
        ),
    ]
    name: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Configuration of a hub dataset or a directory, such as main.",
                extra={"empty": "default", "allowed": "the name of a configuration"},
            ),
        ]
        | None
    ) = None
    split: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Split of a hub dataset or a directory.",
                extra={"empty": "train", "allowed": "the name of a split"},
            ),
        ]
        | None
    ) = None
    revision: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Commit, tag or branch of a hub dataset.",
                extra={"empty": "main", "allowed": "a commit, a tag or a branch"},
            ),
        ]
        | None
    ) = None
    format: Annotated[
        DataFormat,
        Meta(description="Format of the rows; auto detects it by their columns."),
    ] = "auto"
    columns: (
        Annotated[
            str,
            Meta(
                pattern=rf"^\s*{ROLE}\s*=\s*[^,\s][^,]*(,\s*{ROLE}\s*=\s*[^,\s][^,]*)*\Z",
                description="Which column has which role, where its name does not say so.",
                extra={
                    "empty": "by their names",
                    "allowed": "pairs such as prompt=question, completion=answer; the roles are instruction, output, "
                    "prompt, completion, input, system, history, tools, reasoning, text, messages, messages.role and "
                    "messages.content",
                },
            ),
        ]
        | None
    ) = None
    prompt_template: Annotated[
        str,
        Meta(
            pattern=PROMPT_TEMPLATE,
            description="Prompt of a row; auto: Alpaca's for Alpaca rows, the tokenizer's chat template for "
            "conversations, others unchanged.",
            extra={
                "allowed": r"auto, alpaca, chat_template, or your own text up to the response, with {prompt} or "
                r"{instruction} and {input} in it and \n for a line break"
            },
        ),
    ] = "auto"
    chat_template: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Chat template for conversations, saved with the adapter's tokenizer.",
                extra={
                    "empty": "the tokenizer's",
                    "allowed": f"{', '.join(CHAT_TEMPLATES)}, or the path of a .jinja file",
                },
            ),
        ]
        | None
    ) = None
    samples: Annotated[int, Meta(ge=2, description="Use the first N rows.", extra={"empty": "all"})] | None = None
    mix: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Further data to train on, separated by commas: weight, path or hub name, rows.",
                extra={
                    "empty": "none",
                    "allowed": "paths or hub names separated by commas, such as 0.5*more.jsonl, "
                    "openai/gsm8k:main:train[:1000]; a weight is how often its rows come in an epoch",
                },
            ),
        ]
        | None
    ) = None
    eval_fraction: Annotated[
        float,
        Meta(
            ge=0,
            lt=1,
            description="Share of the rows held out for perplexity, never trained on; 0 holds none out. A separate "
            "held-out set takes its place.",
        ),
    ] = 0.1
    eval_path: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Separate held-out set: a file or a hub dataset, or another split of path.",
                extra={"empty": "none"},
            ),
        ]
        | None
    ) = None
    eval_name: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Configuration of the held-out set on the hub.",
                extra={"empty": "default", "allowed": "the name of a configuration"},
            ),
        ]
        | None
    ) = None
    eval_split: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Split of the held-out set on the hub; without eval_path, another one of path.",
                extra={"empty": "default", "allowed": "the name of a split"},
            ),
        ]
        | None
    ) = None
    eval_samples: (
        Annotated[int, Meta(ge=2, description="Use the first N rows of the held-out set.", extra={"empty": "all"})]
        | None
    ) = None
    drop_copies: Annotated[bool, Meta(description="Do not train on rows that are held out too, token for token.")] = (
        False
    )
    max_length: Annotated[int, Meta(ge=8, description="Longest row in tokens; longer rows are cut.")] = 512
    supervised_tokens: Annotated[
        Literal["response", "all"],
        Meta(description="Which tokens the loss and the perplexity count: the response's, or all."),
    ] = "response"
    reasoning: Annotated[
        Literal["learned", "shown", "left_out"],
        Meta(description="Reasoning before an answer: learned with it, shown but not learned, or left out."),
    ] = "learned"
    seed: Annotated[Seed, Meta(description="Seed of the split into training and held-out rows.")] = 42

    def of_one_set(self, **changes: Any) -> DataSpec:
        """Return it with these changes, as the only set of rows: nothing is mixed in, and no held-out set is named."""
        alone = {"mix": None, "eval_path": None, "eval_name": None, "eval_split": None, "eval_samples": None}
        return msgspec.structs.replace(self, **alone, **changes)

"""Render a row as text: with Alpaca's prompts, a user's template, or as a conversation for the chat template."""

from __future__ import annotations

import re

from engine.dataset.rows import AlpacaRow, Conversation, PlainText, PromptCompletion, Row, Turn

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
ESCAPE = re.compile(r"\\([nt\\])")
ESCAPED = {"n": "\n", "t": "\t", "\\": "\\"}


BY_FORMAT = {
    "alpaca": "alpaca", "messages": "chat_template", "sharegpt": "chat_template",
    "prompt-completion": "{prompt}", "text": "{prompt}",
}  # fmt: skip


def template_of(data_format: str, template: str) -> str:
    """Resolve `data.prompt_template` for rows of a format; `auto` stays `auto` while the format is unknown."""
    return BY_FORMAT.get(data_format, "auto") if template == "auto" else template


def chat_parts(row: Row) -> tuple[str, ...]:
    """Return the names of what a row of texts has that only a chat template can write."""
    if not isinstance(row, AlpacaRow | PromptCompletion) or not (
        row.system or row.history or row.tools or row.reasoning
    ):
        return ()
    parts = {"a history": row.history, "a system message": row.system, "tools": row.tools, "reasoning": row.reasoning}
    return tuple(name for name, value in parts.items() if value)


def refusal(row: Row, template: str) -> str | None:
    """Return the reason why `data.prompt_template` cannot render `row`, None if it can."""
    own = template not in ("auto", "alpaca", "chat_template")
    match row:
        case Conversation() if template not in ("auto", "chat_template"):
            return "it is a conversation, which only the chat template renders: set data.prompt_template to auto"
        case PlainText() if template != "auto":
            return "it is text, which has no prompt: set data.prompt_template to auto"
        case AlpacaRow() | PromptCompletion() if template not in ("auto", "chat_template") and (
            parts := chat_parts(row)
        ):
            return f"it has {parts[0]}, which only the chat template renders: set data.prompt_template to auto"
        case AlpacaRow() | PromptCompletion() if (
            own and row.input.strip() and "{input}" not in template and "{prompt}" not in template
        ):
            return "its input has no place in data.prompt_template: put {input} in it, or {prompt} for both"
    return None


def advice(row: Row, template: str) -> str | None:
    """Return a warning on a row that `data.prompt_template` can render but probably should not, None without one."""
    if not isinstance(row, PromptCompletion) or template != "auto" or not whole_prompt(row):
        return None
    if whole_prompt(row)[-1].isspace() or row.completion[0].isspace():
        return None
    return (
        "there is no space between prompt and completion: set data.prompt_template to chat_template, "
        r"or to your own such as {prompt}\n"
    )


def render_prompt(row: AlpacaRow | PromptCompletion, template: str = "auto") -> str:
    r"""Return the text before the response.

    Under `auto` the prompt of a prompt-completion row is used unchanged, as in TRL, and its input follows on the next
    line. In a user's template, `\n`, `\t` and `\\` are a line break, a tab and a backslash.
    """
    if template == "auto" and isinstance(row, PromptCompletion):
        return whole_prompt(row)
    if template in ("auto", "alpaca"):
        template = WITH_INPUT if row.input.strip() else WITHOUT_INPUT
    else:
        template = ESCAPE.sub(lambda match: ESCAPED[match[1]], template)
    return template.format(instruction=_instruction(row), input=row.input, prompt=whole_prompt(row))


def whole_prompt(row: AlpacaRow | PromptCompletion) -> str:
    """Return the prompt, and its input if any on the next line."""
    return f"{_instruction(row)}\n{row.input}" if row.input.strip() else _instruction(row)


def _instruction(row: AlpacaRow | PromptCompletion) -> str:
    return row.instruction if isinstance(row, AlpacaRow) else row.prompt


def response_of(row: AlpacaRow | PromptCompletion) -> str:
    """Return the text that is to be learned."""
    return row.output if isinstance(row, AlpacaRow) else row.completion


def as_conversation(row: Row) -> Conversation:
    """Return the row as turns, which a chat template renders."""
    if isinstance(row, Conversation):
        return row
    assert not isinstance(row, PlainText)
    turns = [Turn("user", whole_prompt(row)), Turn("assistant", response_of(row), True, reasoning=row.reasoning)]
    earlier = [
        turn
        for instruction, output in row.history
        for turn in (Turn("user", instruction), Turn("assistant", output, supervised=bool(output.strip())))
    ]
    system = [Turn("system", row.system)] if row.system.strip() else []
    return Conversation((*system, *earlier, *turns), row.tools)

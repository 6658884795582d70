"""The text a row becomes: Alpaca's prompts, a template of one's own, or a conversation for the chat template."""

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
    """What `data.prompt_template` comes to for rows of a form: `auto` is told by it, and stays for a form unknown."""
    return BY_FORMAT.get(data_format, "auto") if template == "auto" else template


def refusal(row: Row, template: str) -> str | None:
    """Why `data.prompt_template` cannot render `row`, None if it can."""
    own = template not in ("auto", "alpaca", "chat_template")
    match row:
        case Conversation() if template not in ("auto", "chat_template"):
            return "it is a conversation, which only the chat template renders: set data.prompt_template to auto"
        case PlainText() if template != "auto":
            return "it is text, which goes without a prompt: set data.prompt_template to auto"
        case AlpacaRow() if (row.history or row.system) and template != "chat_template":
            what = "history" if row.history else "system message"
            return f"it has a {what}, which only the chat template renders: set data.prompt_template to chat_template"
        case AlpacaRow() if own and row.input.strip() and "{input}" not in template and "{prompt}" not in template:
            return "its input has no place in data.prompt_template: put {input} in it, or {prompt} for both"
    return None


def advice(row: Row, template: str) -> str | None:
    """What looks wrong with a row under `data.prompt_template`, though it can be rendered; None if nothing does."""
    if not isinstance(row, PromptCompletion) or template != "auto" or not row.prompt:
        return None
    if row.prompt[-1].isspace() or row.completion[0].isspace():
        return None
    return (
        "prompt and completion meet without a space: set data.prompt_template to chat_template, "
        r"or to one of your own such as {prompt}\n"
    )


def render_prompt(row: AlpacaRow | PromptCompletion, template: str = "auto") -> str:
    r"""The text up to where the response begins.

    A prompt-completion row's prompt stands as it is under `auto`, as in TRL. In a template of one's own, `\n`, `\t`
    and `\\` are a line break, a tab and a backslash.
    """
    alpaca = isinstance(row, AlpacaRow)
    instruction, given = (row.instruction, row.input) if isinstance(row, AlpacaRow) else (row.prompt, "")
    if template == "auto" and not alpaca:
        return instruction
    if template in ("auto", "alpaca"):
        template = WITH_INPUT if given.strip() else WITHOUT_INPUT
    else:
        template = ESCAPE.sub(lambda match: ESCAPED[match[1]], template)
    return template.format(instruction=instruction, input=given, prompt=whole_prompt(row))


def whole_prompt(row: AlpacaRow | PromptCompletion) -> str:
    """What is asked: an Alpaca row's instruction with its input, if it has one, beneath it."""
    if isinstance(row, PromptCompletion):
        return row.prompt
    return f"{row.instruction}\n{row.input}" if row.input.strip() else row.instruction


def response_of(row: AlpacaRow | PromptCompletion) -> str:
    """What is to be learned."""
    return row.output if isinstance(row, AlpacaRow) else row.completion


def as_conversation(row: AlpacaRow | PromptCompletion | Conversation) -> Conversation:
    """The row as the turns that a chat template renders."""
    if isinstance(row, Conversation):
        return row
    turns = [Turn("user", whole_prompt(row)), Turn("assistant", response_of(row), supervised=True)]
    if isinstance(row, AlpacaRow):
        earlier = [
            turn
            for asked, answered in row.history
            for turn in (Turn("user", asked), Turn("assistant", answered, supervised=bool(answered.strip())))
        ]
        system = [Turn("system", row.system)] if row.system.strip() else []
        turns = [*system, *earlier, *turns]
    return Conversation(tuple(turns))

"""The forms that training rows come in: which columns tell them, and what a record in such a form says.

Column names are those found in the wild: Alpaca's and Dolly's, ShareGPT's, OpenAI's `messages`, TRL's
prompt-completion, and the spellings that data sets on the hub use for the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from engine.dataset.rows import (
    AlpacaRow,
    Conversation,
    DetectedFormat,
    PlainText,
    PromptCompletion,
    Role,
    Row,
    Turn,
    Unusable,
)
from engine.errors import DatasetError

Record = dict[str, Any]
TURN_COLUMNS = ("messages", "conversations", "conversation")
ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "bot": "assistant", "function_call": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip
WEIGHTS = ("loss_weight", "weight", "train")
SHOWN_COLUMNS = 8


class Form(NamedTuple):
    """One form: `columns` holds, for each column that is needed, the names it may have."""

    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Record, Sequence[str]], Row]
    speaker: str = ""  # the key that names who speaks, in a form that is made of turns


def read_alpaca(record: Record, columns: Sequence[str]) -> Row:
    given = "context" if "context" in record and "input" not in record else "input"
    instruction, output, given, system = (_text(record, name) for name in (*columns, given, "system"))
    if not output.strip():
        raise Unusable(f"its {columns[1]} is empty")
    try:
        history = msgspec.convert(_unpacked(record.get("history") or ()), tuple[tuple[str, str], ...])
    except msgspec.ValidationError as error:
        raise Unusable("its history is not a list of pairs of texts") from error
    return AlpacaRow(instruction, output, given, system, history)


def read_prompt_completion(record: Record, columns: Sequence[str]) -> Row:
    """TRL takes both as texts, or both as lists of messages of which the completion's are supervised."""
    prompt, completion = (_unpacked(record[name]) for name in columns)
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = read_turns([*prompt, *completion])
        asked = (msgspec.structs.replace(turn, supervised=False) for turn in turns[: len(prompt)])
        return _conversation([*asked, *turns[len(prompt) :]])
    prompt, completion = (_text(record, name) for name in columns)
    if not completion.strip():
        raise Unusable(f"its {columns[1]} is empty")
    return PromptCompletion(prompt, completion)


def read_text(record: Record, columns: Sequence[str]) -> Row:
    text = _text(record, columns[0])
    if not text.strip():
        raise Unusable(f"its {columns[0]} is empty")
    return PlainText(text)


def read_conversation(record: Record, columns: Sequence[str]) -> Row:
    if _unpacked(record.get("tools") or ()):
        raise Unusable("it has tools, which are not supported: write them into its system message")
    messages = _unpacked(record[columns[0]])
    if not isinstance(messages, list):
        raise Unusable(f"its {columns[0]} is {type(messages).__name__}, not a list of messages")
    turns = read_turns(messages)
    system = _text(record, "system")
    if system.strip() and turns[:1] and turns[0].role != "system":
        turns.insert(0, Turn("system", system))
    return _conversation(turns)


def _text(record: Record, name: str) -> str:
    """The text in a column, "" where there is none."""
    value = record.get(name) or ""
    if not isinstance(value, str):
        raise Unusable(f"its {name} is {type(value).__name__}, not text")
    return value


def _conversation(turns: list[Turn]) -> Row:
    if not any(turn.supervised for turn in turns):
        raise Unusable("it has no assistant message to learn")
    return Conversation(tuple(turns))


def read_turns(messages: Sequence[Any]) -> list[Turn]:
    """Messages as turns; raises Unusable for the first that cannot be one."""
    return [_read_turn(f"its message {number}", message) for number, message in enumerate(messages, 1)]


def _read_turn(name: str, message: Any) -> Turn:
    if not isinstance(message, dict):
        raise Unusable(f"{name} is {type(message).__name__}, not an object")
    speaker = message.get("role", message.get("from"))
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise Unusable(f"{name} has the role {_short(speaker)}, which is none of {', '.join(ROLES)}")
    if message.get("tool_calls") or message.get("function_call"):
        raise Unusable(f"{name} has tool_calls, which are not supported: write them as text")
    key = next((key for key in ("content", "value", "text") if key in message), None)
    if key is None:
        raise Unusable(f"{name} has no content")
    text = _content_text(name, message[key])
    weight = next((message[key] for key in WEIGHTS if message.get(key) is not None), 1)
    if role == "assistant" and weight not in (0, 1):
        raise Unusable(f"{name} has the weight {_short(weight)}, and only 0 and 1 are supported")
    return Turn(role, text, supervised=role == "assistant" and weight == 1 and bool(text.strip()))


def _content_text(name: str, content: Any) -> str:
    """A message's text: one string, or the parts of a list joined."""
    if not isinstance(content, list):
        content = [content or ""]
    texts = []
    for part in content:
        kind = part.get("type") or "text" if isinstance(part, dict) else "text"
        text = part.get("text") or part.get("value") or "" if isinstance(part, dict) else part
        if kind != "text" or not isinstance(text, str):
            what = _short(kind) if kind != "text" else type(text).__name__
            raise Unusable(f"{name} has content of type {what}, and only text can be trained on")
        texts.append(text)
    return "".join(texts)


def _unpacked(value: Any) -> Any:
    """A list; in a cell of a CSV file, and often in Parquet, it is written as JSON."""
    if isinstance(value, str) and value[:1] == "[":
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


# The first that fits a record is its form: Alpaca's columns also make a pair, and many forms come with a text besides.
FORMS = {
    "messages": Form((TURN_COLUMNS,), read_conversation, "role"),
    "sharegpt": Form((TURN_COLUMNS,), read_conversation, "from"),
    "alpaca": Form((("instruction",), ("output", "response")), read_alpaca),
    "prompt-completion": Form(
        (("prompt", "question", "query", "instruction", "input"), ("completion", "response", "answer", "output")),
        read_prompt_completion,
    ),
    "text": Form((("text", "content"),), read_text),
}


def read_record(form: str, record: Any) -> Row:
    """The row that `record` is in the form of that name; raises Unusable if it is none."""
    return FORMS[form].read(record, columns_of(FORMS[form], record))


def columns_of(form: Form, record: Any) -> tuple[str, ...]:
    """The names that the columns of `form` have in `record`; raises Unusable if it lacks one."""
    if not isinstance(record, dict):
        needed = ", ".join(names[0] for names in form.columns)
        raise Unusable(f"it is {type(record).__name__}, not an object with {needed}")
    found = []
    for names in form.columns:
        name = next((name for name in names if name in record), None)
        if name is None:
            raise Unusable(f"it has no column {names[0]!r}, only {_told(record)}")
        found.append(name)
    return tuple(found)


def detect(records: Sequence[Any], wanted: str, source: str) -> DetectedFormat:
    """The form of the first `records`, or, where `wanted` is not "auto", that one of them is in it.

    Raises:
        DatasetError: they are in none, in several, or none of them is in the wanted one.
    """
    names = tuple(FORMS) if wanted == "auto" else (wanted,)
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for number, record in enumerate(records, 1):
        fits = ((name, _fit(FORMS[name], record, wanted)) for name in names)
        name, columns = next(((name, columns) for name, columns in fits if columns), ("", ()))
        if name:
            found.setdefault(name, (number, columns))
    if len(found) == 1:
        ((name, (_, columns)),) = found.items()
        return DetectedFormat(name, columns)
    if found:
        rows = " and ".join(f"{name} (row {number})" for name, (number, _) in found.items())
        raise DatasetError(f"{source} mixes {rows}: set data.format to one, and the other rows are left out")
    raise DatasetError(_no_form(records[0], wanted, source))


def _fit(form: Form, record: Any, wanted: str) -> tuple[str, ...]:
    """The columns by which `record` is of this form, empty if it is not."""
    try:
        columns = columns_of(form, record)
    except Unusable:
        return ()
    if not form.speaker or wanted != "auto":
        return columns
    messages = _unpacked(record[columns[0]])
    first = messages[0] if isinstance(messages, list) and messages else None
    return columns if isinstance(first, dict) and form.speaker in first else ()


def _no_form(record: Any, wanted: str, source: str) -> str:
    what = f"the columns {_told(record)}" if isinstance(record, dict) else f"no columns, it is {_short(record)}"
    needed = {name: ", ".join(names[0] for names in form.columns) for name, form in FORMS.items()}
    if wanted != "auto":
        return f"data.format is {wanted} ({needed[wanted]}), but row 1 of {source} has {what}: set data.format to auto"
    known = "; ".join(f"{name}: {columns}" for name, columns in needed.items())
    return f"row 1 of {source} has {what}: rename them to those of a known format ({known})"


def _told(record: Record) -> str:
    names = sorted(map(str, record))
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return (", ".join(name[:40] for name in names[:SHOWN_COLUMNS]) or "nothing") + more

"""Recognize the format of training records by their columns, and read a record as a row.

Column names are those in common use: Alpaca's and Dolly's, ShareGPT's, OpenAI's `messages`, TRL's
prompt-completion, and other spellings of them in datasets on the hub.
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


class RowFormat(NamedTuple):
    """One format: `columns` holds the names that each required column may have."""

    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Record, Sequence[str]], Row]
    speaker: str = ""  # the key of a message that names who speaks, "" in a format without messages


def read_alpaca(record: Record, columns: Sequence[str]) -> Row:
    """Read an instruction with its output; Dolly calls the input `context`."""
    name = "context" if "context" in record and "input" not in record else "input"
    instruction, output, input_, system = (_text(record, column) for column in (*columns, name, "system"))
    if not output.strip():
        raise Unusable(f"its {columns[1]} is empty")
    try:
        history = msgspec.convert(_unpacked(record.get("history") or ()), tuple[tuple[str, str], ...])
    except msgspec.ValidationError as error:
        raise Unusable("its history is not a list of pairs of texts") from error
    return AlpacaRow(instruction, output, input_, system, history)


def read_prompt_completion(record: Record, columns: Sequence[str]) -> Row:
    """Read prompt and completion: as in TRL two texts, or two lists of messages, the second supervised."""
    prompt, completion = (_unpacked(record[name]) for name in columns)
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = read_turns([*prompt, *completion])
        unsupervised = (msgspec.structs.replace(turn, supervised=False) for turn in turns[: len(prompt)])
        return _conversation([*unsupervised, *turns[len(prompt) :]])
    prompt, completion = (_text(record, name) for name in columns)
    if not completion.strip():
        raise Unusable(f"its {columns[1]} is empty")
    return PromptCompletion(prompt, completion)


def read_text(record: Record, columns: Sequence[str]) -> Row:
    """Read plain text."""
    text = _text(record, columns[0])
    if not text.strip():
        raise Unusable(f"its {columns[0]} is empty")
    return PlainText(text)


def read_conversation(record: Record, columns: Sequence[str]) -> Row:
    """Read a list of messages."""
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
    """Return the text in a column, "" if it is missing or empty."""
    value = record.get(name) or ""
    if not isinstance(value, str):
        raise Unusable(f"its {name} is {type(value).__name__}, not text")
    return value


def _conversation(turns: list[Turn]) -> Row:
    if not any(turn.supervised for turn in turns):
        raise Unusable("it has no assistant message to learn")
    return Conversation(tuple(turns))


def read_turns(messages: Sequence[Any]) -> list[Turn]:
    """Read messages as turns; raises Unusable for the first that cannot be read."""
    return [_read_turn(f"its message {number}", message) for number, message in enumerate(messages, 1)]


def _read_turn(name: str, message: Any) -> Turn:
    if not isinstance(message, dict):
        raise Unusable(f"{name} is {type(message).__name__}, not an object")
    speaker = message.get("role", message.get("from"))
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise Unusable(f"{name} has the role {_short(speaker)}, but it must be one of {', '.join(ROLES)}")
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
    """Return a message's text: a string, or the parts of a list joined."""
    if not isinstance(content, list):
        content = [content or ""]
    texts = []
    for part in content:
        kind = part.get("type") or "text" if isinstance(part, dict) else "text"
        text = part.get("text") or part.get("value") or "" if isinstance(part, dict) else part
        if kind != "text" or not isinstance(text, str):
            type_name = _short(kind) if kind != "text" else type(text).__name__
            raise Unusable(f"{name} has content of type {type_name}, and only text can be trained on")
        texts.append(text)
    return "".join(texts)


def _unpacked(value: Any) -> Any:
    """Decode a list that is written as JSON, as in a cell of a CSV file and often in Parquet."""
    if isinstance(value, str) and value[:1] == "[":
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


# The first format that fits a record is its own: Alpaca's columns also fit prompt-completion, and many records have a
# text column as well.
FORMATS = {
    "messages": RowFormat((TURN_COLUMNS,), read_conversation, "role"),
    "sharegpt": RowFormat((TURN_COLUMNS,), read_conversation, "from"),
    "alpaca": RowFormat((("instruction",), ("output", "response")), read_alpaca),
    "prompt-completion": RowFormat(
        (("prompt", "question", "query", "instruction", "input"), ("completion", "response", "answer", "output")),
        read_prompt_completion,
    ),
    "text": RowFormat((("text", "content"),), read_text),
}


def read_record(form: str, record: Any) -> Row:
    """Read `record` as a row of the format of that name; raises Unusable if that is impossible."""
    return FORMATS[form].read(record, columns_of(FORMATS[form], record))


def columns_of(form: RowFormat, record: Any) -> tuple[str, ...]:
    """Return the names that the columns of a format have in `record`; raises Unusable if one is missing."""
    if not isinstance(record, dict):
        required = ", ".join(names[0] for names in form.columns)
        raise Unusable(f"it is {type(record).__name__}, not an object with {required}")
    columns = []
    for names in form.columns:
        name = next((name for name in names if name in record), None)
        if name is None:
            raise Unusable(f"it has no column {names[0]!r}, only {_column_list(record)}")
        columns.append(name)
    return tuple(columns)


def detect(records: Sequence[Any], data_format: str, source: str) -> DetectedFormat:
    """Return the format of the first `records`; check it against `data_format` unless that is "auto".

    Raises:
        DatasetError: no record is in a known format, or in `data_format`; or the records mix formats.
    """
    names = tuple(FORMATS) if data_format == "auto" else (data_format,)
    first_rows: dict[str, tuple[int, tuple[str, ...]]] = {}  # by format: the number and columns of its first row
    for number, record in enumerate(records, 1):
        fits = ((name, _fit(FORMATS[name], record, data_format)) for name in names)
        name, columns = next(((name, columns) for name, columns in fits if columns), ("", ()))
        if name:
            first_rows.setdefault(name, (number, columns))
    if len(first_rows) == 1:
        ((name, (_, columns)),) = first_rows.items()
        return DetectedFormat(name, columns)
    if first_rows:
        mix = " and ".join(f"{name} (row {number})" for name, (number, _) in first_rows.items())
        raise DatasetError(f"{source} mixes {mix}: set data.format to one, and the other rows are left out")
    raise DatasetError(_no_format(records[0], data_format, source))


def _fit(form: RowFormat, record: Any, data_format: str) -> tuple[str, ...]:
    """Return the columns by which `record` is of this format, empty if it is not."""
    try:
        columns = columns_of(form, record)
    except Unusable:
        return ()
    if not form.speaker or data_format != "auto":
        return columns
    messages = _unpacked(record[columns[0]])
    first = messages[0] if isinstance(messages, list) and messages else None
    return columns if isinstance(first, dict) and form.speaker in first else ()


def _no_format(record: Any, data_format: str, source: str) -> str:
    columns = (
        f"the columns {_column_list(record)}" if isinstance(record, dict) else f"no columns: it is {_short(record)}"
    )
    row = f"row 1 of {source} has {columns}"
    required = {name: ", ".join(names[0] for names in form.columns) for name, form in FORMATS.items()}
    if data_format != "auto":
        return f"data.format is {data_format} ({required[data_format]}), but {row}: set data.format to auto"
    formats = "; ".join(f"{name}: {names}" for name, names in required.items())
    return f"{row}: rename them to those of a known format ({formats})"


def _column_list(record: Record) -> str:
    names = sorted(map(str, record))
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return (", ".join(name[:40] for name in names[:SHOWN_COLUMNS]) or "nothing") + more

"""Recognize the format of training records by their columns, and read a record as a row.

Column names are those in common use: Alpaca's and Dolly's, ShareGPT's, OpenAI's `messages`, TRL's
prompt-completion, LLaMA-Factory's, and other spellings of them in datasets on the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from engine.dataset.columns import (
    COMPLETION,
    INPUT,
    REASONING,
    SYSTEM,
    TOOLS,
    TURN_COLUMNS,
    Columns,
    is_empty,
    names_in,
    refuse_other_meanings,
    short,
    text_of,
    unpacked,
)
from engine.dataset.messages import pair_of, read_turns
from engine.dataset.rows import (
    AlpacaRow,
    Conversation,
    DetectedFormat,
    PlainText,
    PromptCompletion,
    Row,
    Turn,
    Unusable,
    column_list,
)
from engine.dataset.tools import read_tools
from engine.errors import DatasetError

Record = dict[str, Any]


class RowFormat(NamedTuple):
    """One format: `columns` holds the names that each required column may have.

    `read` gets a record, the names of its required columns, and a set to which it adds the keys of messages that have
    a value and are not used.
    """

    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Columns, Sequence[str], set[str]], Row]
    speaker: str = ""  # the key of a message that names who speaks, "" in a format without messages


def read_alpaca(record: Columns, columns: Sequence[str], unused: set[str]) -> Row:
    """Read an instruction with its output; Dolly calls the input `context`."""
    instruction, output = record.text(columns[0]), record.required_text(columns[1])
    return AlpacaRow(instruction, output, *_other_parts(record))


def read_prompt_completion(record: Columns, columns: Sequence[str], unused: set[str]) -> Row:
    """Read prompt and completion: as in TRL two texts, or two lists of messages, the second supervised.

    After a list, the completion may also be one message, as in LLaMA-Factory, or its text.
    """
    prompt, completion = (record.peek(name) for name in columns)
    if _is_messages(prompt) and not is_empty(completion):
        completion = completion if _is_messages(completion) else [_answer(record.raw(columns[1]))]
        for name in columns:
            record.first(name)
        turns = read_turns([*prompt, *completion], unused)
        unsupervised = (msgspec.structs.replace(turn, supervised=False) for turn in turns[: len(prompt)])
        return _conversation([*unsupervised, *turns[len(prompt) :]], record)
    prompt, completion = record.text(columns[0]), record.required_text(columns[1])
    return PromptCompletion(prompt, completion, *_other_parts(record))


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _answer(value: Any) -> Any:
    return value if isinstance(value, dict) else {"role": "assistant", "content": value}


def read_text(record: Columns, columns: Sequence[str], unused: set[str]) -> Row:
    """Read plain text."""
    return PlainText(record.required_text(columns[0]))


def read_conversation(record: Columns, columns: Sequence[str], unused: set[str]) -> Row:
    """Read a list of messages."""
    messages = record.peek(columns[0])
    if not isinstance(messages, list):
        raise Unusable(f"its {columns[0]} is {type(messages).__name__}, not a list of messages")
    record.first(columns[0])
    return _conversation(read_turns(messages, unused), record)


def _conversation(turns: list[Turn], record: Columns) -> Row:
    """Return the turns, after the system column unless they begin with a system message of their own."""
    if turns and turns[0].role != "system" and (system := record.text(*SYSTEM)):
        turns.insert(0, Turn("system", system))
    if not any(turn.supervised for turn in turns):
        raise Unusable("it has no assistant message to learn")
    return Conversation(tuple(turns), _tools(record))


def _other_parts(record: Columns) -> tuple[str, str, tuple[tuple[str, str], ...], str, str]:
    """Return the input, system message, history, tools and reasoning of a row of texts."""
    input_, system = record.text(*INPUT), record.text(*SYSTEM)
    return input_, system, _history(record), _tools(record), record.text(*REASONING)


def _tools(record: Columns) -> str:
    """Return the tools of a record as JSON, "" if it has none."""
    name = next((name for name in TOOLS if not is_empty(record.peek(name))), None)
    return "" if name is None else read_tools(name, record.value(name))


def _history(record: Columns) -> tuple[tuple[str, str], ...]:
    """Return earlier prompts with their answers, as LLaMA-Factory has them."""
    pairs = record.value("history") or ()
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise Unusable("its history is not a list of pairs of texts")
    texts = [["" if text is None else text_of("its history", text) for text in pair] for pair in pairs]
    return tuple((prompt, answer) for prompt, answer in texts)


# The first format that fits a record is its own: Alpaca's columns also fit prompt-completion, and many records have a
# text column as well.
FORMATS = {
    "messages": RowFormat((TURN_COLUMNS,), read_conversation, "role"),
    "sharegpt": RowFormat((TURN_COLUMNS,), read_conversation, "from"),
    "alpaca": RowFormat((("instruction",), ("output", "response")), read_alpaca),
    "prompt-completion": RowFormat(
        (
            ("prompt", "question", "query", "instruction", "input", "content"),
            COMPLETION,
        ),
        read_prompt_completion,
    ),
    "text": RowFormat((("text", "content"),), read_text),
}


def read_record(form: str, record: Any, unused: set[str], used: set[str]) -> Row:
    """Read `record` as a row of the format of that name; add to `unused` and `used` the columns that hold something.

    Raises:
        Unusable: it cannot be read so, or says that it is not to be learned as it stands.
    """
    names = columns_of(FORMATS[form], record)
    refuse_other_meanings(record, answers=form != "text")
    columns = Columns(record)
    row = FORMATS[form].read(columns, names, unused)
    unused.update(columns.unused())
    used.update(columns.used())
    return row


def roles_of(detected: DetectedFormat, used: Collection[str]) -> dict[str, str]:
    """Return the columns that are used by their roles, as `data.columns` calls these: first those required."""
    required = {names[0]: name for names, name in zip(FORMATS[detected.name].columns, detected.columns, strict=True)}
    others = sorted(set(used) - set(detected.columns))
    optional = (INPUT, SYSTEM, ("reasoning", *REASONING), TOOLS)
    return required | {next((names[0] for names in optional if name in names), name): name for name in others}


def columns_of(form: RowFormat, record: Any) -> tuple[str, ...]:
    """Return the names that the columns of a format have in `record`; raises Unusable if one is missing."""
    if not isinstance(record, dict):
        required = ", ".join(names[0] for names in form.columns)
        raise Unusable(f"it is {type(record).__name__}, not an object with {required}")
    columns = []
    for names in form.columns:
        name = next((name for name in names if name in record), None)
        if name is None:
            raise Unusable(f"it has no column {names[0]!r}, only {column_list(record)}")
        columns.append(name)
    return tuple(columns)


def detect(
    records: Sequence[Any], data_format: str, source: str, names: Sequence[str] = tuple(FORMATS)
) -> DetectedFormat:
    """Return the format of the first `records` among those of `names`; check it against `data_format` unless "auto".

    Raises:
        DatasetError: no record is in a known format, or in `data_format`; or the records mix formats.
    """
    names = names if data_format == "auto" else (data_format,)
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
    messages = unpacked(record[columns[0]])
    first = messages[0] if isinstance(messages, list) and messages else None
    fits = isinstance(first, dict) and (
        form.speaker in first or (form.speaker == "from" and pair_of(first) is not None)
    )
    return columns if fits else ()


def _no_format(record: Any, data_format: str, source: str) -> str:
    columns = (
        f"the columns {column_list(names_in(record))}"
        if isinstance(record, dict)
        else f"no columns: it is {short(record)}"
    )
    row = f"row 1 of {source} has {columns}"
    if isinstance(record, dict):
        try:
            refuse_other_meanings(record, answers=True)
        except Unusable as error:
            return f"{source} cannot be trained on: row 1: {error}"
    if isinstance(record, dict) and (name := next((name for name in TURN_COLUMNS if name in record), None)):
        return f"{row}, but {name} is {short(unpacked(record[name]))}, not a list of messages with role and content"
    required = {name: ", ".join(names[0] for names in form.columns) for name, form in FORMATS.items()}
    if data_format != "auto":
        return f"data.format is {data_format} ({required[data_format]}), but {row}: set data.format to auto"
    formats = "; ".join(f"{name}: {names}" for name, names in required.items())
    return (
        f"{row}: rename them to those of a known format ({formats}), or name their roles in data.columns, such as "
        f"prompt=COLUMN, completion=COLUMN"
    )

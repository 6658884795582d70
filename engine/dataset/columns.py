"""The columns of one record: their values, and which of them a reader has used."""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

import msgspec

from engine.dataset.rows import Unusable

SYSTEM = ("system", "system_prompt", "system_message")
INPUT = ("input", "context")
REASONING = ("reasoning_content", "reasoning", "thinking")
TOOLS = ("tools", "functions")
MEDIA = ("images", "image", "videos", "video", "audios", "audio")
TURN_COLUMNS = ("messages", "conversations", "conversation")
COMPLETION = ("completion", "response", "answer", "output", "summary", "target")
PREFERENCES = (
    "chosen", "rejected", "chosen_response", "rejected_response", "chosen_messages", "rejected_messages",
)  # fmt: skip
VERDICTS = ("label", "kto_tag")  # true or false in KTO's preference data
SHOWN_LETTERS = 40


class Columns:
    """A record, or a message of one, in whose columns a reader looks for what it can use."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._record = record
        self._used: set[str] = set()

    def first(self, *names: str) -> str | None:
        """Return the first of the names that has a value and was not used before, and mark it as used."""
        name = next((name for name in names if name not in self._used and not is_empty(self._record.get(name))), None)
        if name is not None:
            self._used.add(name)
        return name

    def peek(self, name: str) -> Any:
        """Return the value under a name, a list in JSON decoded, without marking it as used."""
        return unpacked(self._record.get(name))

    def raw(self, name: str) -> Any:
        """Return the value under a name as it is written, without marking it as used."""
        return self._record.get(name)

    def value(self, *names: str) -> Any:
        """Return the value under the first of the names that has one, a list in JSON decoded; None without one."""
        name = self.first(*names)
        return None if name is None else self.peek(name)

    def text(self, *names: str) -> str:
        """Return the text under the first of the names that has any, "" if none has."""
        name = self.first(*names)
        return "" if name is None else text_of(f"its {name}", self._record[name])

    def required_text(self, name: str) -> str:
        """Return the text under a name; raises Unusable if there is none."""
        text = self.text(name)
        if not text:
            value = self._record.get(name)
            kind = "empty" if isinstance(value, str) else "null" if value is None else f"an empty {_kind(value)}"
            raise Unusable(f"its {name} is {kind}")
        return text

    def used(self) -> set[str]:
        """Return the names of the columns that were used."""
        return set(self._used)

    def unused(self) -> list[str]:
        """Return the names of the columns that have a value and were not used."""
        names = [name for name in self._record if name not in self._used and not is_empty(self.peek(name))]
        return [str(name).encode(errors="backslashreplace").decode() for name in names]


def is_empty(value: Any) -> bool:
    """Return whether a column holds nothing: null, or a text, list or object without content."""
    return (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, list | dict) and not value)
    )


def names_in(record: dict[str, Any]) -> list[str]:
    """Return the names of the columns; for an object, of what is in it, after its own name and a dot."""
    names = []
    for name, value in record.items():
        inner = (
            [f"{name}.{key}" for key, item in value.items() if not is_empty(item)] if isinstance(value, dict) else []
        )
        names += inner or [str(name)]
    return names


def text_of(name: str, value: Any) -> str:
    """Return a value as text: numbers, true and false as JSON writes them, a date as ISO 8601.

    Raises:
        Unusable: it is a list or an object, or half of a character; the message begins with `name`.
    """
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if not isinstance(value, str):
        raise Unusable(f"{name} is {_kind(value, article=True)}, not text")
    if not is_encodable(value):
        raise Unusable(f"{name} has half of a character in it (a lone surrogate): remove it")
    return value


def is_encodable(text: str) -> bool:
    """Return whether a text has no lone surrogates, which stand for no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unpacked(value: Any) -> Any:
    """Decode a list that is written as JSON, as in a cell of a CSV file and often in Parquet."""
    if isinstance(value, str) and value[:1] == "[":
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return value
    return value


def refuse_other_meanings(record: dict[str, Any], *, answers: bool) -> None:
    """Raise Unusable for a record whose columns say that its text must not be learned as it stands.

    `answers` says whether the record is read as an answer to a prompt.
    """
    filled = {name for name in (*MEDIA, *PREFERENCES) if not is_empty(unpacked(record.get(name)))}
    if preferences := [name for name in PREFERENCES if name in filled]:
        raise Unusable(
            f"it has {' and '.join(preferences)}, so it is preference data, which is not supported: to learn "
            f"one of its answers, name it in data.columns, such as {_answer_to_name(record, preferences)}, or remove "
            f"the others"
        )
    if media := next((name for name in MEDIA if name in filled), None):
        raise Unusable(
            f"it has {media}, and only text can be trained on: to train on its text alone, remove the column {media}"
        )
    for name in VERDICTS if answers else ():
        verdict = record.get(name)
        if isinstance(verdict, bool) or (isinstance(verdict, str) and verdict.strip().lower() in ("true", "false")):
            raise Unusable(
                f"its {name} is {str(verdict).strip().lower()}, so it is preference data, which is not supported: keep "
                f"only the rows to be learned, and remove the column {name}"
            )


def _answer_to_name(record: dict[str, Any], preferences: list[str]) -> str:
    """Return the pairs for `data.columns` by which the better answer of preference data is learned."""
    better = next((name for name in (*preferences, *TURN_COLUMNS, *COMPLETION) if _is_better(record, name)), "chosen")
    if better in TURN_COLUMNS:
        return f"messages={better}"
    value = unpacked(record.get(better))
    if isinstance(value, list) and len(value) > 1:
        return f"messages={better}"
    turns = next((name for name in TURN_COLUMNS if not is_empty(record.get(name))), None)
    return f"completion={better}" if turns is None else f"prompt={turns}, completion={better}"


def _is_better(record: dict[str, Any], name: str) -> bool:
    return not name.startswith("rejected") and not is_empty(record.get(name))


def short(value: object) -> str:
    """Return a value as Python writes it, cut to be named in a sentence."""
    text = repr(value)
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"


def _kind(value: object, *, article: bool = False) -> str:
    names: dict[type, str] = {dict: "object", list: "list", bytes: "binary value"}
    name = names.get(type(value), type(value).__name__)
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}" if article else name

"""Columns named by hand: `data.columns` says which column has which role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from engine.dataset.columns import (
    INPUT,
    MEDIA,
    PREFERENCES,
    REASONING,
    SYSTEM,
    TOOLS,
    VERDICTS,
    is_empty,
    names_in,
    unpacked,
)
from engine.dataset.formats import FORMATS
from engine.dataset.messages import CONTENTS, SPEAKERS
from engine.dataset.rows import column_list
from engine.errors import DatasetError, SpecError
from engine.spec.data import DataSpec

T = TypeVar("T")
IN_MESSAGES = "messages."
# The names that a column of each role may have, the first of them the role's own.
OPTIONAL = {"input": INPUT, "system": SYSTEM, "reasoning": REASONING, "tools": TOOLS}
OF_MESSAGES = {"role": SPEAKERS, "content": CONTENTS}
ANSWERS = ("completion", "output", "messages")
REQUIRED = {names[0] for form in FORMATS.values() for names in form.columns}

KNOWN = frozenset(
    (*(name for form in FORMATS.values() for names in form.columns for name in names),
     *INPUT, *SYSTEM, *REASONING, *TOOLS, *MEDIA, *PREFERENCES, *VERDICTS, "history")
)  # fmt: skip


class ColumnNotFound(DatasetError):
    """A role of `data.columns` of which the data has no column."""

    def __init__(self, message: str, role: str) -> None:
        super().__init__(message)
        self.role = role


def read_columns(data: DataSpec) -> dict[str, tuple[str, ...]]:
    """Return the columns that `data.columns` names, by their roles; a role may have several, for several datasets."""
    columns: dict[str, tuple[str, ...]] = {}
    for role, column in _pairs(data):
        columns[role] = (*columns.get(role, ()), column)
    return columns


def _pairs(data: DataSpec) -> list[tuple[str, str]]:
    texts = data.columns.split(",") if data.columns else []
    return [(role.strip(), column.strip()) for role, _, column in (text.partition("=") for text in texts)]


def read_beside(read: Callable[[DataSpec], T], data: DataSpec) -> T:
    """Read data that is not that of `data.path`: of `data.columns` it needs to have no column.

    The column of a role of which it has none is found by its name.

    Raises:
        LoratuiError: as `read`.
    """
    try:
        return read(data)
    except ColumnNotFound as error:
        others = ", ".join(f"{role}={column}" for role, column in _pairs(data) if role != error.role)
        return read_beside(read, msgspec.structs.replace(data, columns=others or None))


def formats_of(data: DataSpec) -> tuple[str, ...]:
    """Return the names of the formats in which a dataset may be: `data.format`, and those with the roles named.

    Raises:
        SpecError: no format has all roles that are named.
    """
    required = [role for role in read_columns(data) if role in REQUIRED]
    named = tuple(FORMATS) if data.format == "auto" else (data.format,)
    fitting = tuple(name for name in named if set(required) <= {names[0] for names in FORMATS[name].columns})
    if not fitting:
        where = "no format has" if data.format == "auto" else f"data.format {data.format} does not have"
        raise SpecError(f"data.columns names {' and '.join(required)}, which {where}: correct one", "data.columns")
    return fitting


class ColumnMap:
    """Gives columns the names by which readers know them: those of `data.columns` that of their role, `Question` that
    of `question`.
    """

    def __init__(self, choices: Mapping[str, tuple[str, ...]]) -> None:
        """Take the columns that each role may have; `look_at` chooses one of them."""
        self._choices = choices
        self._of_records: dict[str, str] = {}
        self._of_messages: dict[str, str] = {}
        self._columns: dict[str, str] = {}

    def name_of(self, column: str) -> str:
        """Return the name in the data of a column that a reader calls `column`."""
        return self._columns.get(column, column)

    def renamed(self, record: Any, unused: set[str]) -> Any:
        """Return the record with its columns renamed, and add to `unused` those that others take the place of."""
        if not self._columns or not isinstance(record, dict):
            return record
        renamed = _renamed(record, self._of_records, OPTIONAL, unused)
        if any(role in self._of_records for role in ANSWERS):
            for name in PREFERENCES:  # the person has chosen which of the answers is learned
                if not is_empty(renamed.pop(name, None)):
                    unused.add(name)
        messages = unpacked(renamed.get("messages"))
        if self._of_messages and isinstance(messages, list):
            hidden: set[str] = set()
            renamed["messages"] = [
                _renamed(message, self._of_messages, OF_MESSAGES, hidden) if isinstance(message, dict) else message
                for message in messages
            ]
            unused |= {f"{IN_MESSAGES}{name}" for name in hidden}
        return renamed

    def look_at(self, records: list[Any], source: str) -> None:
        """Choose the columns by the first records.

        Raises:
            ColumnNotFound: none of them has a column of a role in `data.columns`.
        """
        objects = [record for record in records if isinstance(record, dict)]
        named = {
            role: self._chosen(role, objects, f"row 1 of {source}")
            for role in self._choices
            if not role.startswith(IN_MESSAGES)
        }
        lists = [unpacked(record.get(named.get("messages", "messages"))) for record in objects]
        messages = [message for value in lists if isinstance(value, list) for message in value]
        self._of_messages = {
            role.removeprefix(IN_MESSAGES): self._chosen(role, messages, f"the first message of {source}")
            for role in self._choices
            if role.startswith(IN_MESSAGES)
        }
        self._of_records = _spelled(objects, set(named.values())) | named
        self._columns = {f"{IN_MESSAGES}{role}": name for role, name in self._of_messages.items()} | self._of_records

    def _chosen(self, role: str, values: list[Any], first: str) -> str:
        """Return the first column of a role that a value has; `first` is the place of the first value."""
        columns = self._choices[role]
        objects = [value for value in values if isinstance(value, dict)]
        column = next((column for column in columns if any(_has(value, column) for value in objects)), None)
        if column is None and objects:
            pairs = ", ".join(f"{role}={column}" for column in columns)
            raise ColumnNotFound(
                f"data.columns is {pairs}, but {first} has only {column_list(names_in(objects[0]))}: name one of these",
                role,
            )
        return column or columns[0]


def _spelled(objects: list[dict[str, Any]], named: set[str]) -> dict[str, str]:
    """Return the columns that are known by their names but for capitals and spaces, by these names."""
    present = dict.fromkeys(name for record in objects for name in record if isinstance(name, str))
    spelled = {name.strip().lower(): name for name in reversed(present) if name not in named}
    return {name: column for name, column in spelled.items() if name in KNOWN and name not in present}


def _renamed(
    record: dict[str, Any], columns: Mapping[str, str], names: Mapping[str, tuple[str, ...]], unused: set[str]
) -> dict[str, Any]:
    holders = {role: _holder_of(record, column) for role, column in columns.items()}
    opened = {column.partition(".")[0] for role, column in columns.items() if holders[role][0] is not record}
    renamed = {name: value for name, value in record.items() if name not in columns.values() and name not in opened}
    unused.update(
        name for name in names_in({name: record.get(name) for name in opened}) if name not in columns.values()
    )
    for role, (holder, key) in holders.items():
        for name in names.get(role, (role,)):
            if not is_empty(renamed.pop(name, None)):
                unused.add(name)
        if key in holder:
            renamed[role] = holder[key]
    return renamed


def _holder_of(record: dict[str, Any], column: str) -> tuple[dict[str, Any], str]:
    """Return the object that holds a column, and its key there: a dot leads into an object of the record."""
    name, dot, key = column.partition(".")
    inner = record.get(name)
    return (inner, key) if column not in record and dot and isinstance(inner, dict) else (record, column)


def _has(record: dict[str, Any], column: str) -> bool:
    holder, key = _holder_of(record, column)
    return key in holder

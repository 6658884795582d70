"""Columns named by hand: `data.columns` says which column has which role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.dataset.columns import (
    INPUT,
    MEDIA,
    PREFERENCES,
    REASONING,
    SYSTEM,
    TOOLS,
    VERDICTS,
    is_empty,
    unpacked,
)
from engine.dataset.formats import FORMATS
from engine.dataset.messages import CONTENTS, SPEAKERS
from engine.dataset.rows import column_list
from engine.errors import DatasetError, SpecError
from engine.spec.data import DataSpec

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


def read_columns(data: DataSpec) -> dict[str, str]:
    """Return the columns that `data.columns` names, by their roles; raises SpecError for a role with two columns."""
    columns: dict[str, str] = {}
    for pair in (data.columns or "").split(",") if data.columns else ():
        role, _, column = (part.strip() for part in pair.partition("="))
        if role in columns:
            raise SpecError(f"data.columns is {data.columns!r}: {role} has two columns, name one", "data.columns")
        columns[role] = column
    return columns


def formats_of(data: DataSpec) -> tuple[str, ...]:
    """Return the names of the formats in which a dataset may be: `data.format`, and those with the roles named.

    Raises:
        SpecError: no format has all roles that are named.
    """
    required = [role for role in read_columns(data) if role in REQUIRED]
    named = tuple(FORMATS) if data.format == "auto" else (data.format,)
    fitting = tuple(name for name in named if set(required) <= {names[0] for names in FORMATS[name].columns})
    if not fitting:
        where = "no format has" if data.format == "auto" else f"data.format {data.format} has not"
        raise SpecError(f"data.columns names {' and '.join(required)}, which {where}: correct one", "data.columns")
    return fitting


class ColumnMap:
    """Gives columns the names by which readers know them: those of `data.columns` that of their role, `Question` that
    of `question`.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._of_messages = {
            role.removeprefix(IN_MESSAGES): column for role, column in columns.items() if role.startswith(IN_MESSAGES)
        }
        self._of_records = {role: column for role, column in columns.items() if not role.startswith(IN_MESSAGES)}
        self._columns = dict(columns)

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
        """Learn the spelling of the columns from the first records.

        Raises:
            DatasetError: none of them has a column of `data.columns`.
        """
        objects = [record for record in records if isinstance(record, dict)]
        self._check(objects, source)
        present = dict.fromkeys(name for record in objects for name in record)
        spelled = {
            name.strip().lower(): name
            for name in reversed(present)
            if isinstance(name, str) and name not in self._of_records.values()
        }
        known = {name: column for name, column in spelled.items() if name in KNOWN and name not in present}
        self._of_records = known | self._of_records
        self._columns = known | self._columns

    def _check(self, objects: list[dict[str, Any]], source: str) -> None:
        for role, column in self._of_records.items():
            if objects and not any(column in record for record in objects):
                raise DatasetError(
                    f"data.columns is {role}={column}, but row 1 of {source} has only {column_list(objects[0])}: "
                    f"name one of these"
                )


def _renamed(
    record: dict[str, Any], columns: Mapping[str, str], names: Mapping[str, tuple[str, ...]], unused: set[str]
) -> dict[str, Any]:
    renamed = {name: value for name, value in record.items() if name not in columns.values()}
    for role, column in columns.items():
        for name in names.get(role, (role,)):
            if not is_empty(renamed.pop(name, None)):
                unused.add(name)
        if column in record:
            renamed[role] = record[column]
    return renamed

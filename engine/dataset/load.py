"""Read and check training rows without any heavy library, so that mistakes are reported before training.

The engine reads local files through the same functions: it trains on the rows that the plan counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from engine.dataset.column_map import ColumnMap, formats_of, read_columns
from engine.dataset.data_files import files_of, has_parts
from engine.dataset.formats import detect, read_record, roles_of
from engine.dataset.readers import file_version, local_data_path, local_path, read_records
from engine.dataset.rows import Conversation, DetectedFormat, PlainText, Row, RowCount, RowProblem, Rows, Unusable
from engine.dataset.templates import as_conversation, chat_parts, refusal
from engine.errors import DatasetError, SpecError, reason_of
from engine.spec.data import DataFormat, DataSpec

__all__ = ["count_rows", "local_data_path", "local_path", "read_rows", "reason_of", "rendered_alike", "usable_rows"]

LOOKED_AT = 20  # first rows, from which the format is detected
_counting = Lock()


def read_rows(path: Path, data: DataSpec, every: int = 1) -> Rows:
    """Read the first `data.samples` rows (all if None) of a local file, or of the files that `files_of` finds.

    With `every` above 1 only each of so many is read, the first included.

    Raises:
        DatasetError: a file is missing, is not of the type its name says (with the line), is in no known format or
            mixes several, or there are fewer rows than `data.samples`, or fewer than two usable ones; of text one will
            do, as it is divided into windows.
        SpecError: as `files_of`.
    """
    files = files_of(path, data)
    for file in files:
        file_version(file)
    records = _records_of(files)
    if every > 1:
        records = islice(records, 0, data.samples, every)
        data = msgspec.structs.replace(data, samples=None)
    return usable_rows(records, data, str(path))


def _records_of(files: Iterable[Path]) -> Iterator[Any]:
    return chain.from_iterable(map(read_records, files))


def check_source(data: DataSpec) -> None:
    """Raise SpecError if `data` names a configuration, a split or a revision of local data that has none."""
    path = local_data_path(data.path)
    if path is None:
        return
    if data.revision is not None:
        raise SpecError(
            f"data.revision is {data.revision}, but only a dataset of the hub has one: leave it empty", "data.revision"
        )
    for key, value in (("data.name", data.name), ("data.split", data.split)):
        if value is not None and not has_parts(path):
            raise SpecError(
                f"{key} is {value}, but only a directory, or a dataset of the hub, has one: leave it empty", key
            )


def usable_rows(records: Iterable[Any], data: DataSpec, source: str) -> Rows:
    """Sort the first `data.samples` of `records` into usable rows and problems.

    Raises:
        DatasetError: as `read_rows`.
    """
    columns = ColumnMap(read_columns(data))
    notes = _Notes(columns.name_of)
    detected, sorted_rows = _sort(records, data, source, columns, notes)
    usable: list[Row] = []
    problems: list[RowProblem] = []
    for row in sorted_rows:
        if isinstance(row, RowProblem):
            problems.append(row)
        else:
            usable.append(row)
    _check_numbers(detected, len(usable), len(problems), problems[0] if problems else None, data, source)
    if notes.chat_parts:
        usable = [as_conversation(row) for row in usable]
    return Rows(notes.added_to(detected), tuple(usable), tuple(problems))


def rendered_alike(sets: Sequence[Rows], data: DataSpec) -> list[Rows]:
    """Return the sets; if `auto` reads the rows of one as conversations, so it does those of the others."""
    has_conversations = any(isinstance(row, Conversation) for rows in sets for row in rows.usable)
    if data.prompt_template != "auto" or not has_conversations:
        return list(sets)
    return [
        msgspec.structs.replace(
            rows, usable=tuple(row if isinstance(row, PlainText) else as_conversation(row) for row in rows.usable)
        )
        for rows in sets
    ]


def count_rows(path: Path, data: DataSpec) -> RowCount:
    """Count the rows that `read_rows` would read, one at a time in memory; cached until a file changes.

    Raises:
        DatasetError, SpecError: as `read_rows`.
    """
    versions = tuple((file, file_version(file)) for file in files_of(path, data))
    with _counting:  # a second thread that asks about the same files waits for the first one's answer
        return _count_rows(path, versions, data.format, data.columns, data.prompt_template, data.samples)


@lru_cache(maxsize=64)
def _count_rows(
    path: Path,
    versions: tuple[tuple[Path, tuple[int, int]], ...],
    format_: DataFormat,
    column_names: str | None,
    prompt_template: str,
    samples: int | None,
) -> RowCount:
    data = DataSpec(str(path), format=format_, columns=column_names, prompt_template=prompt_template, samples=samples)
    columns = ColumnMap(read_columns(data))
    notes = _Notes(columns.name_of)
    records = _records_of(file for file, _ in versions)
    detected, sorted_rows = _sort(records, data, str(path), columns, notes)
    usable = passed_over = longest_text = 0
    first: Row | None = None
    problem: RowProblem | None = None
    for row in sorted_rows:
        if isinstance(row, RowProblem):
            problem = problem or row
            passed_over += 1
        else:
            first = first or row
            usable += 1
            longest_text = max(longest_text, _bytes_of_text(row))
    _check_numbers(detected, usable, passed_over, problem, data, str(path))
    assert first is not None
    if notes.chat_parts:
        first = as_conversation(first)
    return RowCount(notes.added_to(detected), usable, passed_over, first, problem, longest_text)


def _bytes_of_text(row: Row) -> int:
    """Return the bytes of a row of plain text, 0 for another row."""
    if not isinstance(row, PlainText):
        return 0
    return len(row.text) if row.text.isascii() else len(row.text.encode())


@dataclass
class _Notes:
    """Facts about the usable rows, noted as they are read.

    `unused` and `chat_parts` are as in `DetectedFormat`; `used` are the columns that are used, by the names that
    `name_of` turns into those of the data.
    """

    name_of: Callable[[str], str]
    used: set[str] = field(default_factory=set)
    unused: set[str] = field(default_factory=set)
    chat_parts: set[str] = field(default_factory=set)

    def added_to(self, detected: DetectedFormat) -> DetectedFormat:
        return DetectedFormat(
            detected.name,
            tuple(map(self.name_of, detected.columns)),
            tuple(sorted(self.unused)),
            tuple(sorted(self.chat_parts)),
            {role: self.name_of(column) for role, column in roles_of(detected, self.used).items()},
        )


def _sort(
    records: Iterable[Any], data: DataSpec, source: str, columns: ColumnMap, notes: _Notes
) -> tuple[DetectedFormat, Iterator[Row | RowProblem]]:
    """Return the format of the first `data.samples` records, and each record as a row or a problem."""
    first_records = map(_object_of, islice(records, data.samples))
    head = list(islice(first_records, LOOKED_AT))
    if not head:
        raise DatasetError(f"{source} has 0 usable rows, and at least 2 are needed")
    columns.look_at(head, source)
    try:
        detected = detect([columns.renamed(record, set()) for record in head], data.format, source, formats_of(data))
    except DatasetError as error:
        raise DatasetError(f"with data.columns {data.columns}, {error}" if data.columns else str(error)) from error

    def sort(number: int, record: Any) -> Row | RowProblem:
        hidden: set[str] = set()
        unused_here: set[str] = set()
        used_here: set[str] = set()
        try:
            row = read_record(detected.name, columns.renamed(record, hidden), unused_here, used_here)
        except Unusable as error:
            return RowProblem(number, str(error))
        reason = refusal(row, data.prompt_template)
        if reason is not None:
            return RowProblem(number, reason)
        notes.unused |= hidden | set(map(notes.name_of, unused_here))
        notes.used |= used_here
        if data.prompt_template == "auto":
            notes.chat_parts.update(chat_parts(row))
        return row

    return detected, (sort(number, record) for number, record in enumerate(chain(head, first_records), 1))


def _object_of(record: Any) -> Any:
    """Return a record that is a list of messages as an object that holds it, another one as it is."""
    is_conversation = isinstance(record, list) and bool(record) and all(isinstance(item, dict) for item in record)
    return {"messages": record} if is_conversation else record


def _check_numbers(
    detected: DetectedFormat, usable: int, passed_over: int, problem: RowProblem | None, data: DataSpec, source: str
) -> None:
    total = usable + passed_over
    least = 1 if detected.name == "text" else 2
    if data.samples is not None and least <= total < data.samples:
        way_out = f"set it to at most {total}, or leave it empty" if total > 1 else "leave it empty"
        raise DatasetError(f"data.samples is {data.samples}, but {source} has {_rows(total)}: {way_out}")
    if usable < least:
        why = f"; row {problem.number}: {problem.reason}" if problem else ""
        raise DatasetError(f"{source} has {_rows(usable, 'usable ')}, and at least {least} are needed{why}")


def _rows(count: int, kind: str = "") -> str:
    return f"{count} {kind}{'row' if count == 1 else 'rows'}"

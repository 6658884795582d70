"""Alpaca rows from a local file, checked without any heavy library, so that what is wrong is said before training.

The engine reads local files through the same function: what the plan counts is what is trained on.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import DatasetError
from engine.presets import EMBEDDED, embedded_data
from engine.spec import looks_local

COLUMNS = ("instruction", "input", "output")


class Row(Struct, frozen=True):
    """One Alpaca example; `input` may be empty."""

    instruction: str
    output: str
    input: str = ""


class RowProblem(Struct, frozen=True):
    """A row that cannot be trained on; `number` counts rows from 1."""

    number: int
    reason: str


class Rows(Struct, frozen=True):
    """The first rows of a dataset: those that can be trained on, and those passed over."""

    usable: tuple[Row, ...]
    passed_over: tuple[RowProblem, ...]

    def warning(self) -> str | None:
        """One sentence on the rows passed over, None if there are none."""
        if not self.passed_over:
            return None
        first, count = self.passed_over[0], len(self.passed_over)
        word = "row was" if count == 1 else "rows were"
        return f"{count} {word} left out; the first is row {first.number}: {first.reason}"


def local_data_file(path: str) -> Path | None:
    """The local file that `data.path` means, None for a name on the hub."""
    if path == EMBEDDED:
        return embedded_data()
    return local_path(path)


def local_path(path: str) -> Path | None:
    """The place on this machine that `path` means, there or not; None for a name on the hub."""
    expanded = os.path.expanduser(path)
    return Path(expanded) if looks_local(path) or os.path.exists(expanded) else None


def read_rows(file: Path, samples: int | None) -> Rows:
    """The first `samples` rows (all if None) of a JSON array or JSON-lines file.

    Raises:
        DatasetError: no such file, not JSON (with the line), no rows, a column missing from every row, fewer rows
            than `samples`, or fewer than two usable ones.
    """
    try:
        status = file.stat()
    except (OSError, ValueError) as error:  # a ValueError is a null byte in the path
        raise DatasetError(f"data.path is {str(file)!r}: {reason_of(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DatasetError(f"data.path is {str(file)!r}: it is not a file")
    records = _records(file, status.st_mtime_ns, status.st_size)
    return usable_rows(records, samples, str(file))


def usable_rows(records: Iterable[Any], samples: int | None, source: str) -> Rows:
    """Sort the first `samples` of `records` (mappings with Alpaca's columns) into usable rows and problems.

    Raises:
        DatasetError: as `read_rows`.
    """
    taken = list(records) if samples is None else list(records)[:samples]
    if samples is not None and len(taken) < samples:
        raise DatasetError(
            f"data.samples is {samples}, but {source} has {len(taken)} rows: set it to at most {len(taken)}"
        )
    usable: list[Row] = []
    problems: list[RowProblem] = []
    for number, record in enumerate(taken, 1):
        row = _check_record(record)
        if isinstance(row, Row):
            usable.append(row)
        else:
            problems.append(RowProblem(number, row))
    if len(usable) < 2:
        why = f"; row {problems[0].number}: {problems[0].reason}" if problems else ""
        raise DatasetError(f"{source} has {len(usable)} usable rows, and at least 2 are needed{why}")
    return Rows(tuple(usable), tuple(problems))


def reason_of(error: OSError | ValueError) -> str:
    """The system's own words for why a path could not be used."""
    return str(getattr(error, "strerror", None) or error).lower()


@lru_cache(maxsize=2)
def _records(file: Path, mtime_ns: int, size: int) -> list[Any]:
    """Parsed rows; remembered for as long as the file stays as it is."""
    try:
        data = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise DatasetError(f"data.path is {str(file)!r}: {reason_of(error)}") from error
    if data.lstrip()[:1] == b"[":
        try:
            records: list[Any] = msgspec.json.decode(data, type=list[Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DatasetError(f"{file} is not a JSON array of rows: {error}") from error
        return records
    return [_decode_line(file, number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]


def _decode_line(file: Path, number: int, line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{file}, line {number}, is not JSON: {error}") from error


def _check_record(record: Any) -> Row | str:
    """The row, or why it is none."""
    if not isinstance(record, dict):
        return f"it is {type(record).__name__}, not an object with {', '.join(COLUMNS)}"
    for column in ("instruction", "output"):
        if column not in record:
            return f"it has no column {column!r}, only {', '.join(sorted(map(str, record))) or 'nothing'}"
    values = {column: record.get(column) or "" for column in COLUMNS}
    for column, value in values.items():
        if not isinstance(value, str):
            return f"its {column} is {type(value).__name__}, not text"
    if not values["output"].strip():
        return "its output is empty"
    return Row(**values)

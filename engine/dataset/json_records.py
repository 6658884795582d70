"""Read records from JSON: an array, lines, objects over several lines, or one object that holds all rows."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from engine.errors import DatasetError

MAX_LINE_BYTES = 256 * 1024 * 1024
WRAPPERS = ("train", "data", "rows", "records", "examples", "instances", "items")
BOMS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",  # before UTF-16's, with which they begin
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
DECODE_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)  # json's errors are ValueErrors


def encoding_of(stream: IO[bytes]) -> str:
    """Return the encoding that the first bytes of a file name; UTF-8 if they name none."""
    start = stream.read(4)
    stream.seek(0)
    return next((encoding for bom, encoding in BOMS.items() if start.startswith(bom)), "utf-8-sig")


def read_json(file: Path, stream: IO[bytes]) -> Iterator[Any]:
    """Read the records of a JSON file one by one.

    Raises:
        DatasetError: it is not JSON, with the line.
    """
    lines = _lines(file, _in_utf8(file, stream))
    number, first = next(lines, (0, b""))
    if first.lstrip()[:1] == b"[":
        yield from _read_array(file, number, first + b"".join(line for _, line in lines))
        return
    if not first:
        return
    try:
        record = _decode(first)
    except DECODE_ERRORS as error:
        if first.lstrip()[:1] != b"{":
            raise DatasetError(f"{file}, line {number}, is not JSON: {error}") from error
        yield from _read_objects(file, number, first + b"".join(line for _, line in lines))
        return
    second = next(lines, None)
    if second is None:
        yield from _rows_of(record)
        return
    yield record
    yield _decode_line(file, *second)
    for line in lines:
        yield _decode_line(file, *line)


def _in_utf8(file: Path, stream: IO[bytes]) -> IO[bytes]:
    encoding = encoding_of(stream)
    if encoding == "utf-8-sig":
        return stream
    try:
        return io.BytesIO(stream.read().decode(encoding).encode())
    except UnicodeError as error:
        raise DatasetError(f"{file} is not JSON in {encoding}, as its first bytes say: {error}") from error


def _lines(file: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Read the lines that are not blank, with their numbers; after the first of an array, the rest at once."""
    is_first = True
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES), b""), 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if is_first and line.lstrip()[:1] == b"[":
            yield number, line + stream.read()
            return
        if len(line) == MAX_LINE_BYTES:
            raise DatasetError(f"{file}, line {number}, is longer than {MAX_LINE_BYTES >> 20} MiB: split it")
        if line.strip():
            is_first = False
            yield number, line


def _decode(data: bytes | msgspec.Raw) -> Any:
    """Decode strict JSON, or else what Python writes: NaN, Infinity, half of a character."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return json.loads(bytes(data).decode())
        except (ValueError, RecursionError):
            pass
        raise


def _decode_line(file: Path, number: int, line: bytes) -> Any:
    try:
        return _decode(line.rstrip())
    except DECODE_ERRORS as error:
        raise DatasetError(f"{file}, line {number}, is not JSON: {error}") from error


def _read_array(file: Path, first_line: int, data: bytes) -> Iterator[Any]:
    """Decode element by element: decoding all at once would block every other thread until it is done.

    With an array on each line, each is a record.
    """
    first, _, rest = data.partition(b"\n")
    if rest.lstrip()[:1] == b"[" and _is_json(first):
        for number, line in enumerate(data.splitlines(), first_line):
            if line.strip():
                yield _decode_line(file, number, line)
        return
    try:
        try:
            elements = msgspec.json.decode(data, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield from _decode(data)
            return
        for element in elements:
            yield _decode(element)
    except DECODE_ERRORS as error:
        raise DatasetError(f"{file} is not a JSON array of rows: {error}") from error


def _is_json(line: bytes) -> bool:
    try:
        _decode(line)
    except DECODE_ERRORS:
        return False
    return True


def _read_objects(file: Path, first_line: int, data: bytes) -> Iterator[Any]:
    """Decode objects that follow each other over several lines; one by itself may hold all rows."""
    decoder, records, end = json.JSONDecoder(), [], 0
    try:
        text = data.decode()
        while (start := _next_object(text, end)) < len(text):
            record, end = decoder.raw_decode(text, start)
            records.append(record)
    except (ValueError, RecursionError) as error:
        line = first_line + (text.count("\n", 0, _next_object(text, end)) if records else 0)
        raise DatasetError(f"{file}, line {line}, is not JSON: {error}") from error
    yield from _rows_of(records[0]) if len(records) == 1 else records


def _next_object(text: str, start: int) -> int:
    """Return where the next object begins: after space, and a comma if there is one."""
    while start < len(text) and text[start] in " \t\r\n,":
        start += 1
    return start


def _rows_of(value: Any) -> list[Any]:
    """Return the rows of the only value in a file: under a name such as `data`, by columns, or the value itself."""
    if not isinstance(value, dict):
        return [value]
    wrapped = next((value[name] for name in WRAPPERS if _is_list_of(dict, value.get(name))), None)
    if wrapped is not None:
        return list(wrapped)
    columns = list(value.values())
    if columns and all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        return columns if _holds_rows(value) else [{name: value[name][index] for name in value} for index in columns[0]]
    is_table = all(isinstance(column, list) and not _is_list_of(dict, column) for column in columns)
    if columns and is_table and len(set(map(len, columns))) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return [value]


def _holds_rows(table: dict[str, dict[str, Any]]) -> bool:
    """Return whether a table, as pandas writes it, is written by rows (orient="index"), not by columns."""
    inner = next(iter(table.values()))
    return not _are_numbers(inner) and (_are_numbers(table) or len(table) > len(inner))


def _are_numbers(names: Iterable[str]) -> bool:
    return all(name.isdecimal() for name in names)


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)

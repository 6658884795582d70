"""Read records from local JSON, JSON lines, CSV and Parquet files one by one."""

from __future__ import annotations

import codecs
import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from engine.errors import DatasetError, reason_of
from engine.spec.presets import EMBEDDED, embedded_data
from engine.spec.schema import looks_local

MAX_LINE_BYTES = 256 * 1024 * 1024
PARQUET_ROWS_AT_ONCE = 1000
DELIMITERS = ",;\t"


def local_data_file(path: str) -> Path | None:
    """Return the local file that `data.path` means, None for a name on the hub."""
    if path == EMBEDDED:
        return embedded_data()
    return local_path(path)


def local_path(path: str) -> Path | None:
    """Return the local path that `path` means, whether or not it exists; None for a name on the hub."""
    expanded = os.path.expanduser(path)
    return Path(expanded) if looks_local(path) or os.path.exists(expanded) else None


def file_version(file: Path) -> tuple[int, int]:
    """Return (modification time in ns, size in bytes) of a data file, which change with its content.

    Raises:
        DatasetError: the file is missing, or is not a regular file.
    """
    try:
        status = file.stat()
    except (OSError, ValueError) as error:  # a ValueError is a null byte in the path
        raise DatasetError(f"data.path is {str(file)!r}: {reason_of(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise DatasetError(f"data.path is {str(file)!r}: it is a directory, name one data file in it")
    if not stat.S_ISREG(status.st_mode):
        raise DatasetError(f"data.path is {str(file)!r}: it is not a file")
    return status.st_mtime_ns, status.st_size


def read_records(file: Path) -> Iterator[Any]:
    """Read the records of a file one by one. Its suffix decides the type; an unknown suffix is read as JSON.

    The first line of `.csv` and `.tsv` files has the names of the columns; `.gz` files are unpacked.

    Raises:
        DatasetError: the file cannot be read, or is not of the type its suffix says; with the line where there is one.
    """
    file_version(file)
    try:
        if file.suffix.lower() == ".parquet":
            yield from _read_parquet(file)
            return
        with _open(file) as stream:
            name = file.name.lower().removesuffix(".gz")
            yield from _read_csv(file, stream) if name.endswith((".csv", ".tsv")) else _read_json(file, stream)
    except (OSError, EOFError, zlib.error) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is damaged, copy it again"
        raise DatasetError(f"data.path is {str(file)!r}: {reason}") from error


def _open(file: Path) -> IO[bytes]:
    if file.suffix.lower() != ".gz":
        return file.open("rb")
    import gzip

    return cast(IO[bytes], gzip.open(file, "rb"))


def _read_json(file: Path, stream: IO[bytes]) -> Iterator[Any]:
    is_lines = False
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES), b""), 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not is_lines and line.lstrip()[:1] == b"[":
            yield from _read_array(file, line + stream.read())
            return
        if len(line) == MAX_LINE_BYTES:
            raise DatasetError(f"{file}, line {number}, is longer than {MAX_LINE_BYTES >> 20} MiB: split it")
        if line.strip():
            is_lines = True
            yield _decode_line(file, number, line.rstrip())


def _read_array(file: Path, data: bytes) -> Iterator[Any]:
    """Decode element by element: decoding all at once would block every other thread until it is done."""
    try:
        for element in msgspec.json.decode(data, type=list[msgspec.Raw]):
            yield msgspec.json.decode(element)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{file} is not a JSON array of rows: {error}") from error


def _decode_line(file: Path, number: int, line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{file}, line {number}, is not JSON: {error}") from error


def _read_csv(file: Path, stream: IO[bytes]) -> Iterator[dict[str, str | None]]:
    import csv

    csv.field_size_limit(MAX_LINE_BYTES)
    number = 1
    try:
        with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            delimiter = max(DELIMITERS, key=text.readline().count)
            text.seek(0)
            reader = csv.DictReader(text, delimiter=delimiter, strict=True)
            for record in reader:
                number = reader.line_num
                if None in record:  # DictReader's key for cells beyond the last column
                    raise DatasetError(
                        f"{file}, line {number}, has more cells than the first line has columns: quote its cells"
                    )
                yield record
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}, after line {number}, is not CSV in UTF-8: {error}") from error


def _read_parquet(file: Path) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as source:
            for batch in source.iter_batches(PARQUET_ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:  # pyarrow raises OSErrors without errno for damage
            raise
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise DatasetError(f"{file} is not a readable Parquet file: {reason[0]}") from error

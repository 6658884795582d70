"""Read records from local files of JSON, JSON lines, CSV, Parquet, Arrow and text one by one."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from engine.dataset.compression import DAMAGE, open_unpacked
from engine.dataset.json_records import MAX_LINE_BYTES, encoding_of, read_json
from engine.errors import DatasetError, reason_of
from engine.spec.local_paths import TEXT_SUFFIXES, looks_local
from engine.spec.presets import EMBEDDED, embedded_data

PARQUET_ROWS_AT_ONCE = 1000
DELIMITERS = ",;\t"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def local_data_path(path: str) -> Path | None:
    """Return the local file, directory or pattern that `data.path` means, None for a name on the hub."""
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
    if not stat.S_ISREG(status.st_mode):
        raise DatasetError(f"data.path is {str(file)!r}: it is not a file")
    return status.st_mtime_ns, status.st_size


def read_records(file: Path) -> Iterator[Any]:
    """Read the records of a file one by one. Its suffix decides the type; an unknown suffix is read as JSON.

    The first line of `.csv` and `.tsv` files has the names of the columns. A file of text is one record.
    Compressed files are unpacked.

    Raises:
        DatasetError: the file cannot be read, or is not of the type its suffix says; with the line where there is one.
    """
    file_version(file)
    suffix = file.suffix.lower()
    try:
        _refuse_pointer(file)
        if suffix in (".parquet", ".arrow"):
            yield from _read_parquet(file) if suffix == ".parquet" else _read_arrow(file)
            return
        with ExitStack() as opened:
            stream, name = open_unpacked(file, opened)
            yield from _reader_of(name)(file, stream)
    except (OSError, *DAMAGE) as error:
        reason = "it is damaged; copy it again" if isinstance(error, DAMAGE) else reason_of(error)
        raise DatasetError(f"data.path is {str(file)!r}: {reason}") from error


def _refuse_pointer(file: Path) -> None:
    with file.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise DatasetError(f"{file} is a pointer of Git LFS, not the data: run `git lfs pull` in its repository")


def _reader_of(name: str) -> Callable[[Path, IO[bytes]], Iterator[Any]]:
    """Return what reads a file of that name, unpacked."""
    suffix = name.lower().rpartition(".")[2]
    if f".{suffix}" in TEXT_SUFFIXES:
        return _read_text
    return _read_csv if suffix in ("csv", "tsv") else read_json


def _read_text(file: Path, stream: IO[bytes]) -> Iterator[dict[str, str]]:
    """Read a file of text as one record, with line feeds at the ends of its lines."""
    encoding = encoding_of(stream)
    data = stream.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise DatasetError(
            f"{file} is longer than {MAX_LINE_BYTES >> 20} MiB: split it into several files, and name their directory"
        )
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        raise DatasetError(f"{file} {_not_text_in(encoding)}") from error
    yield {"text": text.replace("\r\n", "\n").replace("\r", "\n")}


def _not_text_in(encoding: str) -> str:
    """Say what is wrong with a file whose bytes are not text in this encoding, and the way out."""
    name = encoding.removesuffix("-sig").upper()
    return (
        f"is not text in {name}: save it as UTF-8, such as by `iconv -f GBK -t UTF-8` for Chinese text, or "
        f"`iconv -f WINDOWS-1252 -t UTF-8` for Western text"
    )


def _read_csv(file: Path, stream: IO[bytes]) -> Iterator[dict[str, str | None]]:
    import csv

    csv.field_size_limit(MAX_LINE_BYTES)
    encoding = encoding_of(stream)
    reader: csv.DictReader[str] | None = None
    try:
        with io.TextIOWrapper(stream, encoding=encoding, newline="") as text:
            delimiter = max(DELIMITERS, key=text.readline().count)
            text.seek(0)
            reader = csv.DictReader(text, delimiter=delimiter, strict=True)
            for record in reader:
                if None in record:  # DictReader's key for cells beyond the last column
                    raise DatasetError(
                        f"{file}, line {reader.line_num}, has more cells than the first line has columns: put quotes "
                        f"around cells that contain {delimiter!r}"
                    )
                yield record
    except csv.Error as error:
        line = reader.reader.line_num if reader is not None else 1
        raise DatasetError(
            f"{file}, line {line}, is not CSV: {error}: put quotes around a cell that contains quotes, and double "
            f"each quote in it"
        ) from error
    except UnicodeError as error:
        line = reader.reader.line_num if reader is not None else 1
        raise DatasetError(f"{file}, after line {line}, {_not_text_in(encoding)}") from error


def _read_parquet(file: Path) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as source:
            for batch in source.iter_batches(PARQUET_ROWS_AT_ONCE):
                yield from _records_of(file, batch)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:  # pyarrow raises OSErrors without errno for damage
            raise
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise DatasetError(f"{file} is not a readable Parquet file: {reason[0]}") from error


def _read_arrow(file: Path) -> Iterator[Any]:
    """Read a file of the `datasets` library, which writes Arrow's stream format, or one of Arrow's file format."""
    import pyarrow
    from pyarrow import ipc

    try:
        with pyarrow.memory_map(str(file)) as source:
            try:
                batches: Any = ipc.open_stream(source)
            except pyarrow.ArrowInvalid:
                reader = ipc.open_file(source)
                batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            for batch in batches:
                yield from _records_of(file, batch)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DatasetError(
            f"{file} is not a readable Arrow file: {str(error).strip().partition(chr(10))[0]}"
        ) from error


def _records_of(file: Path, batch: Any) -> Iterator[dict[str, Any]]:
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns[name] = column.to_pylist()
        except (OverflowError, ValueError) as error:  # a date that Python does not have, such as one in the year 10000
            if column.type.num_fields:
                raise DatasetError(f"{file}: its column {name} cannot be read: {error}: remove it") from error
            columns[name] = column.cast("string").to_pylist()
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))

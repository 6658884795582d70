"""The format of `experiments.json`: tables of documents as JSON, with an indent of one space per level.

A document is decoded only when it is used, and an unchanged one is written back byte for byte.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import StoreDamaged, StoreError, StoreMissing, StoreNewer, reason_of
from engine.files.atomic import Buffer, NoPlainFile, read_plain

SCHEMA = 1
PIECE_BYTES = 64 * 1024
MAX_STORE_BYTES = 512 * 1024 * 1024
KEY = re.compile(r"[1-9][0-9]{0,14}")


class Record(Mapping[str, Any]):
    """A document as bytes of the file: decoded only when a field is read, and written back byte for byte."""

    __slots__ = ("_fields", "raw")

    def __init__(self, raw: Buffer) -> None:
        self.raw = raw
        self._fields: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Raises msgspec.ValidationError for a number that is too large to hold."""
        if self._fields is None:
            self._fields = msgspec.json.decode(self.raw, type=dict[str, Any])
        return self._fields

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


Tables = dict[str, dict[str, Record]]


def read_tables(path: Path) -> Tables:
    """Read the tables of a file.

    Raises:
        StoreNewer: a later version wrote it in a layout that this one does not know.
        StoreDamaged: its content is not that of a store.
        StoreMissing: it does not exist.
        StoreError: the system cannot read it, whatever its content is.
    """
    try:
        data = read_plain(path, max_bytes=MAX_STORE_BYTES, follow_link=True)
        _check_utf8(data)
        tables = _decode(data)
        if not _is_rendered(tables, data):  # another program wrote it: check for what the decoder accepts
            json.loads(data, object_pairs_hook=_refuse_duplicates, parse_int=str, parse_float=str)
        return tables
    except (NoPlainFile, msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = str(error)
    except FileNotFoundError as error:
        raise StoreMissing(f"there is no {path.name} in {path.parent}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {reason_of(error)}") from error
    raise StoreDamaged(
        f"{path} is damaged and was left as it is ({reason}): repair it, or run `loratui rebuild`", reason
    )


def _check_utf8(data: bytes) -> None:
    """Raise UnicodeDecodeError if `data` is not UTF-8; in pieces, as the heap would keep a copy of a large file."""
    if data.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), PIECE_BYTES):
        decoder.decode(data[start : start + PIECE_BYTES])
    decoder.decode(b"", final=True)


def _is_rendered(tables: Tables, data: bytes) -> bool:
    """Return True if `data` is the output of `render` for the tables, byte for byte."""
    at = 0
    for piece in render(tables):
        text = bytes(piece)
        if not data.startswith(text, at):
            return False
        at += len(text)
    return at == len(data)


def _decode(data: bytes) -> Tables:
    try:
        raw = msgspec.json.decode(data, type=dict[str, dict[str, msgspec.Raw]])
        if not all(KEY.fullmatch(key) for table in raw.values() for key in table):
            raise msgspec.ValidationError("a record whose key is not a number")
        if not all(bytes(document).startswith(b"{") for table in raw.values() for document in table.values()):
            raise msgspec.ValidationError("a record that is not an object")
        if "rounds" not in raw:
            raise msgspec.ValidationError("it has no rounds")
    except msgspec.ValidationError:
        refuse_newer(_schema_anywhere(msgspec.json.decode(data)))
        raise
    return {name: {key: Record(document) for key, document in table.items()} for name, table in raw.items()}


def _schema_anywhere(parsed: Any) -> object:
    """Find the number of the layout, also in a layout that a later version has changed."""
    levels = [parsed]
    for name in ("meta", "1"):
        levels.append(levels[-1].get(name) if isinstance(levels[-1], dict) else None)
    return next((level["schema"] for level in levels if isinstance(level, dict) and "schema" in level), None)


def refuse_newer(schema: object) -> None:
    """Raise StoreNewer if `schema`, as read from a file, is the layout of a later version."""
    if isinstance(schema, int) and schema > SCHEMA:
        raise StoreNewer(
            f"experiments.json was written by a newer loratui (schema {schema}, this one knows {SCHEMA}), so this one "
            "cannot change it: update loratui"
        )


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("the same key twice in an object")
    return fields


def as_record(document: Mapping[str, Any]) -> Record:
    """Encode a document as in the file, indented two levels deep."""
    if isinstance(document, Record):
        return document
    return Record(msgspec.json.format(msgspec.json.encode(document), indent=1).replace(b"\n", b"\n  "))


def render(tables: Tables) -> Iterator[Buffer]:
    """Yield the file in pieces: JSON with an indent of one space per level."""
    yield b"{"
    for index, (name, table) in enumerate(tables.items()):
        yield b"%s\n %s: {" % (b"," if index else b"", msgspec.json.encode(name))
        for row, (key, record) in enumerate(table.items()):
            yield b'%s\n  "%s": ' % (b"," if row else b"", key.encode())
            yield record.raw
        yield b"\n }" if table else b"}"
    yield b"\n}\n"

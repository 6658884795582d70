"""TinyDB's JSON file, replaced whole and never overwritten in place, with backups of what was replaced.

Beside `experiments.json` lie `.bak1`, what it was before the last change, and `.bak2` and `.bak3`, which give way once
the next newer is an hour, a day newer. A backup is a hard link to the file that is replaced: it costs no writing, and
is never a part of a file; on file systems without links it is a copy. Only what was read whole becomes a backup.
"""

from __future__ import annotations

import codecs
import itertools
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from tinydb.storages import Storage

from engine.errors import StoreDamaged, StoreError, StoreMissing, StoreNewer, reason_of
from engine.files.atomic import (
    Buffer,
    NoPlainFile,
    link_or_copy,
    read_plain,
    sweep,
    sync,
    temporary_beside,
    temporary_file,
)

SCHEMA = 1
PIECE_BYTES = 64 * 1024
MAX_STORE_BYTES = 512 * 1024 * 1024
HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0
SETTLE_SECONDS, SETTLE_LIMIT_SECONDS = 1.0, 5.0
KEY = re.compile(r"[1-9][0-9]{0,14}")
Signature = tuple[int, int, int]


class Record(Mapping[str, Any]):
    """A document as it stands in the file: decoded only when it is looked into, and written back byte for byte."""

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


class AtomicJSONStorage(Storage):
    """TinyDB's storage over one file. A parse is kept for as long as the file's (inode, size, mtime) stay the same.

    Reading needs no lock; everything that writes is for the holder of the store's lock.

    Attributes:
        path: the file, which may be a link to where it lies.
        unsure: why what was written last may not outlive a loss of power; "" as long as it will.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unsure = ""
        self._parsed: tuple[Signature, Tables] | None = None

    @property
    def target(self) -> Path:
        """Where the file lies: what replaces it, and what is kept of it, belong there, and a link stays a link."""
        try:
            return Path(os.path.realpath(self.path, strict=True))
        except FileNotFoundError:
            return Path(os.path.realpath(self.path))
        except OSError as error:  # not to be taken for no link
            raise StoreError(f"{self.path} cannot be read: {reason_of(error)}") from error

    @property
    def backups(self) -> list[Path]:
        """Newest first, whether they are there or not."""
        target = self.target
        return [target.with_name(f"{target.name}.bak{age}") for age in (1, 2, 3)]

    def signature(self) -> Signature | None:
        """What changes whenever the file does; None while there is no file."""
        try:
            return _signature(os.stat(self.path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {reason_of(error)}") from error

    def read(self) -> Tables:
        signature = self.signature()
        if signature is None:
            raise StoreMissing(f"there is no {self.path.name} in {self.path.parent}")
        if self._parsed is None or self._parsed[0] != signature:
            self._parsed = signature, read_tables(self.path)
        return self._parsed[1]

    def write(self, data: Mapping[str, Mapping[str, Mapping[str, Any]]], aside: Path | None = None) -> None:
        """Replace the file. What it was becomes a backup, or has the name `aside` from now on.

        Raises:
            StoreError: the disk refuses, or another program changed the file since it was read; it is then as it was.
        """
        tables = {name: {key: _as_record(table[key]) for key in sorted(table, key=int)} for name, table in data.items()}
        target = self.target
        known, self._parsed = self._parsed, None
        try:
            with temporary_file(target, _render(tables)) as temporary:
                now = time.time_ns()  # the kernel's own clock ticks too seldom to tell two quick writes apart
                os.utime(temporary, ns=(now, now))
                signature = _signature(os.stat(temporary))
                if aside is not None:
                    _set_aside(target, aside)
                elif known is not None and (found := self.signature()) is not None:
                    if found != known[0]:
                        raise StoreError(f"{self.path} was changed meanwhile by another program: try again")
                    self._keep_backup(target)
                os.replace(temporary, target)
        except OSError as error:
            raise StoreError(f"{self.path} could not be written and is as before: {reason_of(error)}") from error
        self._parsed = signature, tables
        self._sync(target.parent)

    def _sync(self, directory: Path) -> None:
        """The new file is in its place by now: a failure here must not be taken for a write that did not happen."""
        try:
            sync(directory)
            self.unsure = ""
        except OSError as error:
            self.unsure = (
                f"{self.path} is written, but may be as before after a loss of power, as the disk does not "
                f"confirm it ({reason_of(error)}): look after the disk"
            )

    def _keep_backup(self, target: Path) -> None:
        newest, hour_old, day_old = self.backups
        if newest.exists() and newest.samefile(target):  # from a write that failed after this
            return
        temporary = temporary_beside(target)
        link_or_copy(target, temporary)
        try:
            for younger, older, apart in ((hour_old, day_old, DAY_SECONDS), (newest, hour_old, HOUR_SECONDS)):
                with suppress(FileNotFoundError):
                    if _apart(younger, older) >= apart:
                        os.replace(younger, older)
            os.replace(temporary, newest)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def free_name(self, ending: str) -> Path:
        """A name beside the file that nothing has, with the time of day and `ending` in it."""
        target = self.target
        name = f"{target.name}.{time.strftime('%Y%m%d-%H%M%S')}"
        names = (f"{name}{f'-{count}' if count > 1 else ''}.{ending}" for count in itertools.count(1))
        return next(path for path in map(target.with_name, names) if not os.path.lexists(path))

    def settle(self) -> None:
        """Wait until the file has not changed for a moment: an editor or git may be in the midst of writing it."""
        deadline = time.monotonic() + SETTLE_LIMIT_SECONDS
        while (signature := self.signature()) is not None and time.monotonic() < deadline:
            age = time.time() - signature[2] / 1e9
            if not 0 <= age < SETTLE_SECONDS:
                return
            time.sleep(SETTLE_SECONDS - age)

    def sweep(self) -> None:
        """Remove the temporary files that killed writers left."""
        with suppress(OSError):
            sweep(self.target)


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _set_aside(target: Path, aside: Path) -> None:
    """Give a file a second name, so that it is never absent from its place; other things are renamed."""
    if target.is_file():
        link_or_copy(target, aside)
    else:
        os.rename(target, aside)


def _apart(younger: Path, older: Path) -> float:
    """Seconds between two backups; without end if there is no older one, or the clock was set back."""
    at = younger.stat().st_mtime
    try:
        seconds = at - older.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    return seconds if seconds >= 0 else float("inf")


def read_tables(path: Path) -> Tables:
    """The tables of a file.

    Raises:
        StoreNewer: it is laid out in a way that only a later version knows.
        StoreDamaged: it is no file of loratui's.
        StoreMissing: it is not there.
        StoreError: it cannot be read at all, which says nothing about what is in it.
    """
    try:
        data = read_plain(path, max_bytes=MAX_STORE_BYTES, follow_link=True)
        _check_utf8(data)
        tables = _decode(data)
        if not _is_rendered(tables, data):  # not as it is written here, so what a parse passes over is looked for
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
    """Raises UnicodeDecodeError for what is no UTF-8; piece by piece, as a copy of a large file is kept by the heap."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), PIECE_BYTES):
        decoder.decode(data[start : start + PIECE_BYTES])
    decoder.decode(b"", final=True)


def _is_rendered(tables: Tables, data: bytes) -> bool:
    """Whether `data` is what `_render` makes of the tables, byte for byte."""
    at = 0
    for piece in _render(tables):
        end = at + len(bytes(piece))
        if data[at:end] != bytes(piece):
            return False
        at = end
    return at == len(data)


def _decode(data: bytes) -> Tables:
    try:
        raw = msgspec.json.decode(data, type=dict[str, dict[str, msgspec.Raw]])
        if not all(KEY.fullmatch(key) for table in raw.values() for key in table):
            raise msgspec.ValidationError("a record whose key is no number")
        if not all(bytes(item).startswith(b"{") for table in raw.values() for item in table.values()):
            raise msgspec.ValidationError("a record that is no object")
        if "rounds" not in raw:
            raise msgspec.ValidationError("it has no rounds")
    except msgspec.ValidationError:
        refuse_newer(_schema_anywhere(msgspec.json.decode(data)))
        raise
    return {name: {key: Record(item) for key, item in table.items()} for name, table in raw.items()}


def _schema_anywhere(parsed: Any) -> object:
    """The number of the layout, also in one that a later version has changed."""
    places = [parsed]
    for name in ("meta", "1"):
        places.append(places[-1].get(name) if isinstance(places[-1], dict) else None)
    return next((place["schema"] for place in places if isinstance(place, dict) and "schema" in place), None)


def refuse_newer(schema: object) -> None:
    """Raises StoreNewer if `schema`, as found in a file, is the number of a layout of a later version."""
    if isinstance(schema, int) and schema > SCHEMA:
        raise StoreNewer(
            f"experiments.json is of a newer loratui (schema {schema}, this one knows {SCHEMA}) and is not changed by "
            "this one: update loratui"
        )


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key that is there twice")
    return fields


def _as_record(document: Mapping[str, Any]) -> Record:
    """As it stands in the file, two levels deep."""
    if isinstance(document, Record):
        return document
    return Record(msgspec.json.format(msgspec.json.encode(document), indent=1).replace(b"\n", b"\n  "))


def _render(tables: Tables) -> Iterator[Buffer]:
    """The file, in pieces: JSON with an indent of one space per level."""
    yield b"{"
    for place, (name, table) in enumerate(tables.items()):
        yield b"%s\n %s: {" % (b"," if place else b"", msgspec.json.encode(name))
        for row, (key, record) in enumerate(table.items()):
            yield b'%s\n  "%s": ' % (b"," if row else b"", key.encode())
            yield record.raw
        yield b"\n }" if table else b"}"
    yield b"\n}\n"

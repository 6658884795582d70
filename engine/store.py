"""The index of rounds, `experiments.json`: TinyDB over a storage that locks and replaces, never overwrites in place.

TinyDB's own storage rewrites the file in place and knows no other process; here every change is one read-modify-write
under a lock, and readers find the old file or the new one. Per-step values never come here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document, Table

from engine.dataset import reason_of
from engine.errors import RoundError, StoreError, StoreMissing
from engine.jsonfile import write_atomically
from engine.rounds import Round, Status
from engine.workspace import Workspace

SCHEMA = 1
LOCK_SECONDS = 30.0
Signature = tuple[int, int, int]
Tables = dict[str, dict[str, dict[str, Any]]]


class AtomicJSONStorage(Storage):
    """One JSON file, replaced whole. A parse is kept for as long as the file's (inode, size, mtime) stay the same."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parsed: tuple[Signature | None, Tables] | None = None

    def signature(self) -> Signature | None:
        """What changes whenever the file does; None while there is no file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def read(self) -> Tables:
        signature = self.signature()
        if signature is None:
            raise StoreMissing(f"there is no experiments.json in {self.path.parent}")
        if self._parsed is None or self._parsed[0] != signature:
            self._parsed = signature, self._parse()
        return self._parsed[1]

    def _parse(self) -> Tables:
        try:
            parsed = msgspec.json.decode(self.path.read_bytes(), type=Tables)
            if not all(key.isdecimal() for table in parsed.values() for key in table):
                raise msgspec.ValidationError("a record whose key is no number")
            return parsed
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {reason_of(error)}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(
                f"{self.path} is damaged and was left as it is ({error}): repair it, or run `loratui rebuild`"
            ) from error

    def write(self, data: Tables) -> None:
        """Replace the file; under the lock, so that the signature taken afterwards is that of `data`."""
        self._parsed = None
        try:
            write_atomically(self.path, msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n")
        except OSError as error:
            raise StoreError(f"{self.path} could not be written and is as before: {reason_of(error)}") from error
        self._parsed = self.signature(), data


class RoundStore:
    """The rounds of one workspace. Any number of processes may use it at once.

    Raises:
        StoreMissing, StoreError: from every method, when the file is absent, damaged, or cannot be written.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.store_path
        self._storage = AtomicJSONStorage(self._path)
        self._lock = FileLock(self._path.with_name("experiments.json.lock"), timeout=LOCK_SECONDS)
        self._db = TinyDB(storage=lambda: self._storage)

    def exists(self) -> bool:
        return self._path.exists()

    def signature(self) -> Signature | None:
        """Changes whenever a round does; cheap enough to ask for often."""
        return self._storage.signature()

    def create(self, rounds: tuple[Round, ...] = ()) -> None:
        """Make `experiments.json`; raises StoreError if it is there already."""
        with self._locked():
            if self.exists():
                raise StoreError(f"{self._path} is there already")
            self._write_anew(rounds, 0)

    def recreate(self, found: Iterable[Round]) -> tuple[int, Path | None]:
        """Make the file anew from its rounds, as far as they can be read, and those of `found` that it lacks.

        Returns:
            How many rounds there are now, and where a copy of the old file lies (None if there was none).
        """
        with self._locked():
            aside = self._copy_aside() if self.exists() else None
            last_number, known = 0, []
            with contextlib.suppress(StoreError):
                last_number, known = self._last_number(), list(self._table)
            rounds = {round_.number: round_ for round_ in (*found, *_readable(known))}
            self._write_anew(rounds.values(), last_number)
            return len(rounds), aside

    def rounds(self) -> list[Round]:
        """All rounds by number."""
        return sorted((_to_round(document) for document in self._table), key=lambda round_: round_.number)

    def get(self, number: int) -> Round:
        """One round; raises RoundError if there is none with this number."""
        document = self._table.get(doc_id=number)
        if not isinstance(document, Document):
            raise RoundError(f"there is no round {number}: `loratui ls` lists them")
        return _to_round(document)

    def add(self, make: Callable[[int], Round]) -> Round:
        """Add the round that `make` builds for the number it is given; numbers are never used twice."""
        with self._locked():
            number = 1 + self._last_number()
            round_ = make(number)
            self._table.insert(Document(msgspec.to_builtins(round_), doc_id=number))
            return round_

    def update(self, number: int, allowed: frozenset[Status] | None = None, **changes: Any) -> Round:
        """Change fields of one round; what this version does not know of it stays.

        Raises:
            RoundError: no such round, or its status is none of `allowed`; nothing is then changed.
        """
        with self._locked():
            round_ = self.get(number)
            if allowed is not None and round_.status not in allowed:
                words = " or ".join(sorted(allowed))
                raise RoundError(f"round {number} is {round_.status}: only one that is {words} allows this")
            self._table.update(msgspec.to_builtins(changes), doc_ids=[number])
            return self.get(number)

    def update_each(self, changes: Callable[[list[Round]], Mapping[int, Mapping[str, Any]]]) -> list[Round]:
        """Change fields of several rounds at once: all of the changes are written, or none.

        Args:
            changes: given all rounds by number, says which fields of which rounds become what. It is called under the
                lock, so what it decides on is still so when it is written. Nothing is written when it names no round.

        Returns:
            All rounds by number, as they are afterwards.

        Raises:
            RoundError: `changes` names a round that does not exist, or raises it itself; nothing is then changed.
        """
        with self._locked():
            wanted = changes(self.rounds())
            for number in wanted:
                self.get(number)
            if wanted:
                fields = {number: msgspec.to_builtins(dict(wanted[number])) for number in wanted}
                self._table.update(lambda document: document.update(fields[document["number"]]), doc_ids=list(wanted))
            return self.rounds()

    def remove(self, number: int, forbidden: frozenset[Status]) -> Round:
        """Take one round out and return it; raises RoundError if there is none, or its status is `forbidden`."""
        with self._locked():
            round_ = self.get(number)
            if round_.status in forbidden:
                raise RoundError(f"round {number} is {round_.status}: stop it first with `loratui stop {number}`")
            meta = Document({"schema": SCHEMA, "last_number": self._last_number()}, doc_id=1)
            self._db.table("meta", cache_size=0).upsert(meta)
            self._table.remove(doc_ids=[number])
            return round_

    def _last_number(self) -> int:
        """The highest number ever given; `meta` remembers those of removed rounds."""
        tables = self._storage.read()
        remembered = tables.get("meta", {}).get("1", {}).get("last_number", 0)
        return max(remembered if isinstance(remembered, int) else 0, *map(int, tables.get("rounds", {})), 0)

    def _write_anew(self, rounds: Iterable[Round], last_number: int) -> None:
        listed = sorted(rounds, key=lambda round_: round_.number)
        last = max([last_number, *(round_.number for round_ in listed)])
        self._storage.write(
            {
                "rounds": {str(round_.number): msgspec.to_builtins(round_) for round_ in listed},
                "meta": {"1": {"schema": SCHEMA, "last_number": last}},
            }
        )

    def _copy_aside(self) -> Path:
        """Copy the file to a name that is free."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        endings = itertools.chain([""], (f"-{count}" for count in itertools.count(2)))
        names = (self._path.with_name(f"{self._path.name}.{stamp}{ending}.old") for ending in endings)
        aside = next(name for name in names if not name.exists())
        try:
            shutil.copy2(self._path, aside)
        except OSError as error:
            raise StoreError(
                f"{self._path} could not be copied to {aside} and is as before: {reason_of(error)}"
            ) from error
        return aside

    @property
    def _table(self) -> Table:
        return self._db.table("rounds", cache_size=0)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not os.access(self._path.parent, os.W_OK | os.X_OK):
            raise StoreError(f"{self._path.parent} cannot be written to: choose another workspace")
        try:
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"{self._lock.lock_file} has been held by another process for {LOCK_SECONDS:.0f} s: try again"
            ) from error
        except OSError as error:
            raise StoreError(f"{self._lock.lock_file} cannot be used as a lock: {reason_of(error)}") from error
        try:
            yield
        finally:
            self._lock.release()


def _to_round(document: Document) -> Round:
    try:
        return msgspec.convert(document, Round)
    except msgspec.ValidationError as error:
        raise StoreError(f"round {document.doc_id} in experiments.json does not hold together: {error}") from error


def _readable(documents: Iterable[Document]) -> Iterator[Round]:
    for document in documents:
        with contextlib.suppress(StoreError):
            yield _to_round(document)

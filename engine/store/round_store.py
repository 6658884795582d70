"""The index of rounds, `experiments.json`: TinyDB over a storage that locks and replaces, never overwrites in place.

TinyDB's own storage rewrites the file in place and knows no other process; here every change is one read-modify-write
under a lock, and readers find the old file or the new one. A file that is damaged is kept under another name, and the
rounds come back from its backup and from `runs/`. Per-step values never come here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout
from tinydb import TinyDB
from tinydb.storages import MemoryStorage
from tinydb.table import Document, Table

from engine.errors import ReadOnly, RoundError, StoreDamaged, StoreError, reason_of
from engine.files.paths import Workspace
from engine.runs.spec_file import merged
from engine.spec.round import Round, Status
from engine.store.documents import sharing, to_round
from engine.store.json_storage import SCHEMA, AtomicJSONStorage, Signature, Tables, refuse_newer
from engine.store.repair import last_number, mend, meta_of, notices_of, rebuild
from engine.store.trash import Removed, forget, put_back, removed_in, take_out

LOCK_SECONDS = 30.0
POLL_SECONDS = 0.01


class RoundStore:
    """The rounds of one workspace. Any number of processes and threads may use it at once.

    With `readonly` nothing is ever written, nor locked, and a damaged file stays as it is.

    Raises:
        ReadOnly: from every method that writes, where `readonly`.
        StoreMissing, StoreError: from every method, when the file is absent, or cannot be read or written. A damaged
            file is mended by the first who uses it, which `notices` then tells.
    """

    def __init__(self, workspace: Workspace, *, readonly: bool = False) -> None:
        self._workspace = workspace
        self._readonly = readonly
        self._path = workspace.store_path
        self._storage = AtomicJSONStorage(self._path)
        self._locks: dict[Path, FileLock] = {}
        self._swept = False
        self._listed: tuple[Tables, list[Round], list[str]] | None = None

    def exists(self) -> bool:
        return self._path.exists()

    def check_writable(self) -> None:
        """Raises ReadOnly where nothing is to be changed."""
        if self._readonly:
            raise ReadOnly(f"{self._path.parent} is open for reading only: leave --readonly out to change it")

    def signature(self) -> Signature | None:
        """Changes whenever a round does; cheap enough to ask for often."""
        return self._storage.signature()

    def create(self, rounds: tuple[Round, ...] = ()) -> None:
        """Make `experiments.json`; raises StoreError if it is there already."""
        documents = {str(round_.number): msgspec.to_builtins(round_) for round_ in rounds}
        with self._locked():
            if self.exists():
                raise StoreError(f"{self._path} is there already")
            meta = {"schema": SCHEMA, "last_number": last_number({"rounds": documents})}
            self._storage.write({"rounds": documents, "meta": {"1": meta}})

    def rounds(self) -> list[Round]:
        """All rounds by number; those that do not hold together are left out, and `notices` tells of them."""
        return list(self._list()[0])

    def notices(self) -> list[str]:
        """What the person should know of the file, one sentence each: how it was mended, and what is wrong with it."""
        _, broken = self._list()
        meta = meta_of(self._storage.read())
        told = notices_of(meta)
        if broken:
            told.append(broken[0] + (f"; {len(broken) - 1} more are like it" if len(broken) > 1 else ""))
        try:
            refuse_newer(meta.get("schema"))
        except StoreError as error:
            told.append(error.message)
        return [*told, self._storage.unsure] if self._storage.unsure else told

    def dismiss(self) -> None:
        """Tell no more, neither here nor in other processes, of how the file was mended."""
        self._storage.unsure = ""
        with self._changing() as draft:
            if meta_of(self._storage.read()).get("notices"):
                _set_meta(draft, notices=[])

    def get(self, number: int) -> Round:
        """One round; raises RoundError if there is none with this number."""
        document = self._read()["rounds"].get(str(number))
        if document is None:
            raise RoundError(f"there is no round {number}: `loratui ls` lists them")
        return to_round(number, document)

    def add(self, make: Callable[[int], Round]) -> Round:
        """Add the round that `make` builds for the number it is given; numbers are never used twice."""
        with self._changing() as draft:
            number = 1 + last_number(self._storage.read())
            round_ = make(number)
            draft.table("rounds").insert(Document(msgspec.to_builtins(round_), doc_id=number))
            return round_

    def update(self, number: int, allowed: frozenset[Status] | None = None, **changes: Any) -> Round:
        """Change fields of one round; what this version does not know of it stays.

        Raises:
            RoundError: no such round, or its status is none of `allowed`; nothing is then changed.
        """
        with self._changing() as draft:
            round_ = self.get(number)
            if allowed is not None and round_.status not in allowed:
                words = " or ".join(sorted(allowed))
                raise RoundError(f"round {number} is {round_.status}: only one that is {words} allows this")
            return self._change(draft, {number: changes})[number]

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
        with self._changing() as draft:
            rounds = self.rounds()
            changed = self._change(draft, changes(rounds))
            return [changed.get(round_.number, round_) for round_ in rounds]

    def remove(self, number: int, forbidden: frozenset[Status]) -> Round:
        """Delete one round and return it; `restore` brings it back until it is forgotten.

        Raises:
            RoundError: there is none, or its status is `forbidden`.
        """
        with self._changing() as draft:
            round_ = self.get(number)
            if round_.status in forbidden:
                raise RoundError(f"round {number} is {round_.status}: stop it first with `loratui stop {number}`")
            _set_meta(draft, schema=SCHEMA, last_number=last_number(self._storage.read()))
            take_out(draft, self._storage.read(), number)
            return round_

    def removed(self) -> list[Removed]:
        """The deleted rounds that can be brought back, by number."""
        return removed_in(self._read())

    def restore(self, number: int) -> Round:
        """Bring a deleted round back as it was; raises RoundError if it cannot be."""
        with self._changing() as draft:
            return to_round(number, put_back(draft, number))

    def forget(self, numbers: Iterable[int]) -> None:
        """Let deleted rounds not be brought back any more."""
        with self._changing() as draft:
            forget(draft, numbers)

    def rebuild(self) -> tuple[int, Path | None]:
        """Make the file anew: its rounds where they hold together, else as the backup has them, and those of `runs/`.

        Returns:
            How many rounds there are now, and where the old file lies (None if there was none).
        """
        with self._locked():
            aside = rebuild(self._storage, self._workspace)
            return len(self._list()[0]), aside

    def _list(self) -> tuple[list[Round], list[str]]:
        """The rounds by number, and what is wrong with those that do not hold together."""
        tables = self._read()
        if self._listed is None or self._listed[0] is not tables:
            rounds, broken = [], []
            known: dict[Any, Any] = {}
            for key, document in tables["rounds"].items():
                try:
                    rounds.append(sharing(to_round(int(key), document), known))
                except StoreError as error:
                    broken.append(error.message)
            self._listed = tables, sorted(rounds, key=lambda round_: round_.number), broken
        return self._listed[1], self._listed[2]

    def _read(self) -> Tables:
        """What the file holds; a damaged one is mended first, if it can be and anything tells that it is ours."""
        try:
            return self._storage.read()
        except StoreDamaged:
            signs = (self._lock_path, *self._storage.backups, self._workspace.runs_dir)
            writable = not self._readonly and os.access(self._lock_path.parent, os.W_OK | os.X_OK)
            if not writable or not any(map(os.path.exists, signs)):
                raise
        with self._locked():
            with suppress(StoreDamaged):
                return self._storage.read()  # another process was quicker
            self._storage.settle()
            try:
                return self._storage.read()  # whoever was writing has finished
            except StoreDamaged as error:
                return mend(self._storage, self._workspace, error.reason)

    @contextmanager
    def _changing(self) -> Iterator[TinyDB]:
        """A draft of the file, in memory; at the end it is written, at once, if anything in it was changed."""
        self._read()
        with self._locked():
            tables = self._storage.read()
            refuse_newer(meta_of(tables).get("schema"))
            draft = TinyDB(storage=MemoryStorage)
            draft.storage.write({name: dict(table) for name, table in tables.items()})
            try:
                yield draft
            except msgspec.ValidationError as error:
                raise StoreError(
                    f"{self._path} holds what cannot be written again and is as before: {error}"
                ) from error
            changed: Any = draft.storage.read()
            if changed != tables:
                self._storage.write(changed)

    def _change(self, draft: TinyDB, changes: Mapping[int, Mapping[str, Any]]) -> dict[int, Round]:
        """Put the changes into the draft; returns the rounds as they become, so that nothing is read after a write."""
        documents = {}
        for number, fields in changes.items():
            self.get(number)
            old = self._storage.read()["rounds"][str(number)]
            documents[number] = merged(old, msgspec.to_builtins(dict(fields)))
        _put(draft.table("rounds"), [Document(document, doc_id=number) for number, document in documents.items()])
        return {number: to_round(number, document) for number, document in documents.items()}

    @property
    def _lock_path(self) -> Path:
        """Beside the file itself, so that two workspaces with links to one file have one lock."""
        target = self._storage.target
        return target.with_name(f"{target.name}.lock")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.check_writable()
        path = self._lock_path
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise StoreError(f"{path.parent} cannot be written to: choose another workspace")
        lock = self._locks.setdefault(
            path, FileLock(path, timeout=LOCK_SECONDS, poll_interval=POLL_SECONDS, mode=0o600)
        )
        try:
            lock.acquire()
        except Timeout as error:
            raise StoreError(f"{path} has been held by another process for {LOCK_SECONDS:.0f} s: try again") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be used as a lock: {reason_of(error)}") from error
        try:
            if not self._swept:
                self._storage.sweep()
                self._swept = True
            yield
        finally:
            try:
                lock.release()
            except OSError:  # what was written stands; tried once more, and else let go when the process ends
                with suppress(OSError):
                    lock.release(force=True)


def _put(table: Table, documents: list[Document]) -> None:
    """Insert documents in the place of those with their ids; unlike TinyDB's update it changes none that others see."""
    table.remove(doc_ids=[document.doc_id for document in documents if table.contains(doc_id=document.doc_id)])
    table.insert_multiple(documents)


def _set_meta(draft: TinyDB, **fields: object) -> None:
    table = draft.table("meta")
    _put(table, [Document({**(table.get(doc_id=1) or {}), **fields}, doc_id=1)])

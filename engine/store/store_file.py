"""`experiments.json` as a file: TinyDB over a storage that locks and replaces, never overwrites in place.

TinyDB's own storage rewrites the file in place and knows no other process; here every change is one read-modify-write
under a lock, and readers see the old file or the new one. A damaged file is renamed, and its rounds are recovered from
the backup and from `runs/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from tinydb import TinyDB

from engine.errors import ReadOnly, StoreDamaged, StoreError
from engine.files.paths import Workspace
from engine.store.draft import new_draft, set_meta
from engine.store.home import home_at
from engine.store.json_format import SCHEMA, Tables, refuse_newer
from engine.store.json_storage import AtomicJSONStorage, Signature
from engine.store.repair import last_number, meta_of, rebuild, repair, with_identity
from engine.store.store_lock import StoreLock


class StoreFile:
    """The store file of one workspace, for any number of processes and threads. With `readonly` it is only read.

    Raises:
        ReadOnly: from every method that writes, if `readonly`.
        StoreMissing, StoreError: from every method, if the file is missing, or cannot be read or written.
    """

    def __init__(self, workspace: Workspace, *, readonly: bool) -> None:
        self.readonly = readonly
        self._workspace = workspace
        self._path = workspace.store_path
        self._storage = AtomicJSONStorage(self._path)
        self._lock = StoreLock(self._storage)
        self._is_swept = False

    def exists(self) -> bool:
        return self._path.exists()

    def check_writable(self) -> None:
        """Raise ReadOnly if the workspace is open for reading only."""
        if self.readonly:
            raise ReadOnly(f"{self._path.parent} is open for reading only: leave --readonly out to change it")

    def signature(self) -> Signature | None:
        """Return a value that changes whenever the file does; None while it does not exist."""
        return self._storage.signature()

    def create(self, documents: dict[str, dict[str, Any]]) -> None:
        """Create the file with these documents of rounds, by number; raises StoreError if it exists."""
        with self._locked():
            if self.exists():
                raise StoreError(f"{self._path} exists already")
            home = msgspec.to_builtins(home_at(self._workspace.root))
            meta = {"schema": SCHEMA, "last_number": last_number({"rounds": documents}), "home": home}
            self._storage.write(with_identity({"rounds": documents, "meta": {"1": meta}}))

    def read(self) -> Tables:
        """Read the file; a damaged one is repaired first, if it is writable and there are signs that it is a store."""
        try:
            return self._storage.read()
        except StoreDamaged:
            signs = (self._lock.path, *self._storage.backups, self._workspace.runs_dir)
            writable = not self.readonly and os.access(self._lock.path.parent, os.W_OK | os.X_OK)
            if not writable or not any(map(os.path.exists, signs)):
                raise
        with self._locked():
            with suppress(StoreDamaged):
                return self._storage.read()  # another process was quicker
            self._storage.settle()
            try:
                return self._storage.read()  # whoever was writing has finished
            except StoreDamaged as error:
                return repair(self._storage, self._workspace, error.reason)

    @property
    def unsure(self) -> str:
        """The reason why a power failure may undo the last write; "" if it is safe on the disk."""
        return self._storage.unsure

    def dismiss(self) -> None:
        """Drop the notices of repairs, for other processes too, and `unsure`."""
        self._storage.unsure = ""
        with self.draft() as draft:
            if meta_of(self.read()).get("notices"):
                set_meta(draft, notices=[])

    def rebuild(self) -> Path | None:
        """Write the file again from its rounds, the newest backup and `runs/`; returns the path of the old file."""
        with self._locked():
            return rebuild(self._storage, self._workspace)

    @contextmanager
    def draft(self) -> Iterator[TinyDB]:
        """Yield a draft of the file, in memory; at the end it is written in one go if anything in it was changed."""
        self.read()
        with self._locked():
            signature, tables = self._storage.read_signed()
            refuse_newer(meta_of(tables).get("schema"))
            draft = new_draft(tables)
            try:
                yield draft
            except msgspec.ValidationError as error:
                raise StoreError(
                    f"{self._path} has a value that cannot be written, and is as before: {error}"
                ) from error
            changed: Any = draft.storage.read()
            if changed != tables:
                self._storage.write(with_identity(changed), before=signature)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; a thread that has it may take it again."""
        self.check_writable()
        with self._lock.held():
            if not self._is_swept:
                self._storage.sweep()
                self._is_swept = True
            yield

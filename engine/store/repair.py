"""Repair of a damaged store, and its rebuilding, from backups and from `runs/`.

All functions are for the holder of the store's lock.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import StoreDamaged, StoreMissing
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.store.home import home_at
from engine.store.json_format import KEY, SCHEMA, Tables, read_tables, refuse_newer
from engine.store.json_storage import AtomicJSONStorage
from engine.store.recovery import Recovered, recover, rounds_of_runs


def repair(storage: AtomicJSONStorage, workspace: Workspace, reason: str) -> Tables:
    """Rename a damaged file and write one with the rounds of its backup and `runs/`; `reason` says what is damaged."""
    backup, name = newest_backup(storage)
    refuse_newer(meta_of(backup).get("schema"))
    aside = storage.free_name("damaged")
    recovered = recover(backup, backup, rounds_of_runs(workspace), last_number(backup), stale=True)
    count = len(recovered.documents)
    sources = " and ".join([*([name] if name else []), "runs/"])
    notice = (
        f"{storage.path} was damaged ({reason}) and is kept as {aside.name}: {count} round{'s' * (count != 1)} "
        f"recovered from {sources}" + (f"; {recovered.renumbered}" if recovered.renumbered else "")
    )
    notices = [*notices_of(meta_of(backup)), notice]
    _write_recovered(storage, workspace, backup, recovered, notices, aside)
    return storage.read()


def rebuild(storage: AtomicJSONStorage, workspace: Workspace) -> Path | None:
    """Write the file again from its rounds, the newest backup and `runs/`; returns the path of the old file."""
    backup, _ = newest_backup(storage)
    try:
        old, stale = storage.read(), False
    except (StoreMissing, StoreDamaged):
        old, stale = backup, True
    refuse_newer(meta_of(old).get("schema"))
    aside = storage.free_name("old") if os.path.lexists(storage.target) else None
    recovered = recover(old, backup, rounds_of_runs(workspace), last_number(old), stale)
    _write_recovered(storage, workspace, old, recovered, [text for text in (recovered.renumbered,) if text], aside)
    return aside


def _write_recovered(
    storage: AtomicJSONStorage,
    workspace: Workspace,
    old: Tables,
    recovered: Recovered,
    notices: list[str],
    aside: Path | None,
) -> None:
    tables = {**old, "rounds": recovered.documents}
    meta = {"schema": SCHEMA, **meta_of(old), "last_number": max(last_number(old), last_number(tables))}
    queued = [True for document in recovered.documents.values() if document.get("status") == Status.QUEUED]
    if "home" not in meta and not queued:  # so that nothing starts that was queued elsewhere
        meta["home"] = msgspec.to_builtins(home_at(workspace.root))
    if notices or "notices" in meta:
        meta["notices"] = notices
    storage.write({**tables, "meta": {**old.get("meta", {}), "1": meta}}, aside)


def newest_backup(storage: AtomicJSONStorage) -> tuple[Tables, str]:
    """Read the newest valid backup and return its tables and name; empty and "" if there is none.

    Raises:
        StoreError: the disk does not give a backup back now; an older one would lose rounds.
    """
    for backup in storage.backups:
        with suppress(StoreMissing, StoreDamaged):
            return read_tables(backup), backup.name
    return {}, ""


def meta_of(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of the table `meta`."""
    try:
        return dict(tables.get("meta", {}).get("1", {}))
    except msgspec.ValidationError:  # a number that is too large to hold
        return {}


def with_identity(tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the tables with an id of the workspace, a new one if they have none yet."""
    meta = meta_of(tables)
    if not meta or "id" in meta:
        return tables
    return {**tables, "meta": {**tables["meta"], "1": {**meta, "id": secrets.token_hex(8)}}}


def notices_of(meta: Mapping[str, Any]) -> list[str]:
    notices = meta.get("notices")
    return [text for text in notices if isinstance(text, str)] if isinstance(notices, list) else []


def last_number(tables: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the highest number that was ever used; `meta` has it where that round was removed."""
    stored = meta_of(tables).get("last_number", 0)
    remembered = stored if isinstance(stored, int) and KEY.fullmatch(str(stored)) else 0
    return max(remembered, *map(int, tables.get("rounds", {})), 0)

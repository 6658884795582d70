"""A store's file that is damaged, or made anew: its rounds from its backups and from `runs/`.

Everything here is for the holder of the store's lock.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import StoreDamaged, StoreMissing
from engine.files.paths import Workspace
from engine.store.json_storage import KEY, SCHEMA, AtomicJSONStorage, Tables, read_tables, refuse_newer
from engine.store.recovery import Salvage, bring_back, rounds_of_runs


def mend(storage: AtomicJSONStorage, workspace: Workspace, reason: str) -> Tables:
    """Keep a damaged file under another name, and bring the rounds back; `reason` says how it is damaged."""
    backup, name = newest_backup(storage)
    refuse_newer(meta_of(backup).get("schema"))
    aside = storage.free_name("damaged")
    salvage = bring_back(backup, backup, rounds_of_runs(workspace), last_number(backup), stale=True)
    count = len(salvage.documents)
    told = (
        f"{storage.path} was damaged ({reason}) and is kept as {aside.name}: {count} round{'s' * (count != 1)} came "
        f"back from {' and '.join([*([name] if name else []), 'runs/'])}"
    )
    notices = [*notices_of(meta_of(backup)), told + (f"; {salvage.told}" if salvage.told else "")]
    _write_salvage(storage, backup, salvage, notices, aside)
    return storage.read()


def rebuild(storage: AtomicJSONStorage, workspace: Workspace) -> Path | None:
    """Make the file anew from what it holds, the newest backup and `runs/`; returns where the old one lies."""
    backup, _ = newest_backup(storage)
    try:
        old, stale = storage.read(), False
    except (StoreMissing, StoreDamaged):
        old, stale = backup, True
    refuse_newer(meta_of(old).get("schema"))
    aside = storage.free_name("old") if os.path.lexists(storage.target) else None
    salvage = bring_back(old, backup, rounds_of_runs(workspace), last_number(old), stale)
    _write_salvage(storage, old, salvage, [text for text in (salvage.told,) if text], aside)
    return aside


def _write_salvage(
    storage: AtomicJSONStorage, old: Tables, salvage: Salvage, notices: list[str], aside: Path | None
) -> None:
    tables = {**old, "rounds": salvage.documents}
    meta = {"schema": SCHEMA, **meta_of(old), "last_number": max(last_number(old), last_number(tables))}
    if notices or "notices" in meta:
        meta["notices"] = notices
    storage.write({**tables, "meta": {**old.get("meta", {}), "1": meta}}, aside)


def newest_backup(storage: AtomicJSONStorage) -> tuple[Tables, str]:
    """What the newest backup that is whole holds, and its name; nothing and "" if there is none.

    One that the disk does not give back now is not passed over: that would be to give up what is in it.
    """
    for backup in storage.backups:
        with suppress(StoreMissing, StoreDamaged):
            return read_tables(backup), backup.name
    return {}, ""


def meta_of(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the file says of itself."""
    try:
        return dict(tables.get("meta", {}).get("1", {}))
    except msgspec.ValidationError:  # a number that is too large to hold
        return {}


def notices_of(meta: Mapping[str, Any]) -> list[str]:
    listed = meta.get("notices")
    return [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []


def last_number(tables: Mapping[str, Mapping[str, Any]]) -> int:
    """The highest number ever given; `meta` remembers those of removed rounds."""
    remembered = meta_of(tables).get("last_number", 0)
    known = remembered if isinstance(remembered, int) and KEY.fullmatch(str(remembered)) else 0
    return max(known, *map(int, tables.get("rounds", {})), 0)

"""The trash: documents of removed rounds in the store's table `removed`, while their `runs/` stay untouched.

A document moves between the tables in one write, so that a round is in exactly one of them, whatever process dies.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct
from tinydb import TinyDB
from tinydb.table import Document

from engine.errors import RoundError
from engine.store.json_format import Tables

TABLE = "removed"


class Removed(Struct, frozen=True):
    """A round in the trash: its number, its id, which names its run directory, and when, in seconds since the epoch."""

    number: int
    id: str
    removed: float


def removed_in(tables: Tables) -> list[Removed]:
    """Return the rounds in the trash by number; broken documents are skipped."""
    removed_rounds = []
    for key, document in tables.get(TABLE, {}).items():
        try:
            removed_rounds.append(msgspec.convert({**document, "number": int(key)}, Removed))
        except msgspec.ValidationError:
            continue
    return removed_rounds


def move_to_trash(draft: TinyDB, tables: Tables, number: int) -> None:
    """Move a round of the draft to the trash."""
    document: dict[str, Any] = {**tables["rounds"][str(number)], "removed": time.time()}
    draft.table("rounds").remove(doc_ids=[number])
    forget(draft, [number])
    draft.table(TABLE).insert(Document(document, doc_id=number))


def move_from_trash(draft: TinyDB, number: int) -> dict[str, Any]:
    """Move a round of the draft out of the trash, and return its document.

    Raises:
        RoundError: it is not in the trash, or was deleted for good.
    """
    stored = draft.table(TABLE).get(doc_id=number)
    if not isinstance(stored, Document):
        raise RoundError(f"round {number} cannot be restored: it was not removed, or is deleted for good")
    document = {key: value for key, value in stored.items() if key != "removed"}
    forget(draft, [number])
    draft.table("rounds").insert(Document(document, doc_id=number))
    return document


def forget(draft: TinyDB, numbers: Iterable[int]) -> None:
    """Delete the rounds of these numbers from the trash for good."""
    table = draft.table(TABLE)
    table.remove(doc_ids=[number for number in numbers if table.contains(doc_id=number)])

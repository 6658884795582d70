"""Rounds that were deleted and can be brought back: their documents in the store's table `removed`, `runs/` untouched.

As a document goes from table to table in one write, a deleted round is in exactly one of them, whatever dies when.
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
from engine.store.json_storage import Tables

TABLE = "removed"


class Removed(Struct, frozen=True):
    """A deleted round: its number, its id, which names its run directory, and when, in seconds since the epoch."""

    number: int
    id: str
    removed: float


def removed_in(tables: Tables) -> list[Removed]:
    """The deleted rounds of a store by number; documents that do not hold together are passed over."""
    found = []
    for key, document in tables.get(TABLE, {}).items():
        try:
            found.append(msgspec.convert({**document, "number": int(key)}, Removed))
        except msgspec.ValidationError:
            continue
    return found


def take_out(draft: TinyDB, tables: Tables, number: int) -> None:
    """Move a round of the draft to the deleted ones."""
    document: dict[str, Any] = {**tables["rounds"][str(number)], "removed": time.time()}
    draft.table("rounds").remove(doc_ids=[number])
    forget(draft, [number])
    draft.table(TABLE).insert(Document(document, doc_id=number))


def put_back(draft: TinyDB, number: int) -> dict[str, Any]:
    """Move a deleted round back among the others, and return its document.

    Raises:
        RoundError: it was not deleted, or its files are deleted too by now.
    """
    found = draft.table(TABLE).get(doc_id=number)
    if not isinstance(found, Document):
        raise RoundError(f"round {number} cannot be brought back: it was not deleted, or for good")
    document = {key: value for key, value in found.items() if key != "removed"}
    forget(draft, [number])
    draft.table("rounds").insert(Document(document, doc_id=number))
    return document


def forget(draft: TinyDB, numbers: Iterable[int]) -> None:
    """Let no deleted round of these numbers be brought back any more."""
    table = draft.table(TABLE)
    table.remove(doc_ids=[number for number in numbers if table.contains(doc_id=number)])

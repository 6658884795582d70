"""Drafts of the store: TinyDB in memory, whose tables are written in one go or not at all."""

from __future__ import annotations

from tinydb import TinyDB
from tinydb.storages import MemoryStorage
from tinydb.table import Document, Table

from engine.store.json_format import Tables


def new_draft(tables: Tables) -> TinyDB:
    """Return a database in memory with these tables, which stay as they are."""
    draft = TinyDB(storage=MemoryStorage)
    draft.storage.write({name: dict(table) for name, table in tables.items()})
    return draft


def put_documents(table: Table, documents: list[Document]) -> None:
    """Replace documents by id; unlike TinyDB's update it leaves the old documents, which others may hold, unchanged."""
    table.remove(doc_ids=[document.doc_id for document in documents if table.contains(doc_id=document.doc_id)])
    table.insert_multiple(documents)


def set_meta(draft: TinyDB, **fields: object) -> None:
    """Change fields of the table `meta`."""
    table = draft.table("meta")
    put_documents(table, [Document({**(table.get(doc_id=1) or {}), **fields}, doc_id=1)])

"""The trash: documents of removed rounds in the store's table `removed`, while their `runs/` stay for a week.

A document moves between the tables in one write, so that a round is in exactly one of them, whatever process dies.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct
from tinydb import TinyDB
from tinydb.table import Document

from engine.errors import LoratuiError, RoundError, StoreError, reason_of
from engine.files.paths import RunDir, Workspace
from engine.runs.spec_file import read_queued
from engine.spec.round import Trial
from engine.store.draft import put_documents
from engine.store.json_format import Tables

TABLE = "removed"
TRASH_SECONDS = 7 * 86400.0
FULL = (errno.ENOSPC, errno.EDQUOT)
NOTICE_SECONDS = 86400.0  # a clock that is far ahead for less than this deletes nothing


class Removed(Struct, frozen=True):
    """A round in the trash.

    Attributes:
        id: the name of its run directory.
        removed, created: when it was removed and queued, in seconds since the epoch.
        overdue: when an app first saw that its week was over, None before that.
        trial: its part in a sweep, None without any.
    """

    number: int
    id: str
    removed: float
    name: str = ""
    created: float | None = None
    overdue: float | None = None
    trial: Trial | None = None

    @property
    def expires(self) -> float:
        """When its week is over, in seconds since the epoch."""
        return self.removed + TRASH_SECONDS

    def is_due(self, now: float) -> bool:
        """Return True if its week is over, and was so when an app started a day ago or earlier."""
        return self.expires <= now and self.overdue is not None and self.overdue + NOTICE_SECONDS <= now

    def corrections(self, now: float) -> dict[str, float | None]:
        """Return what is to be stored if the clock was wrong when it was removed, or if its week is over by now.

        A round that was queued in the future says nothing of when it was removed.
        """
        if self.removed > now or self.removed < (self.created or 0.0) <= now:
            return {"removed": now, "overdue": None}
        if self.expires <= now and (self.overdue is None or self.overdue > now):
            return {"overdue": now}
        return {}

    def corrected(self, now: float) -> Removed:
        """Return what `corrections` makes of it."""
        return msgspec.structs.replace(self, **self.corrections(now))


def run_bytes(workspace: Workspace, removed: Removed) -> int:
    """Return how much of the disk the run directory of a removed round occupies; what cannot be read counts 0."""
    sizes = []
    for folder, _, names in os.walk(workspace.run_dir(removed.id).path):
        for name in names:
            with suppress(OSError):
                sizes.append(os.lstat(os.path.join(folder, name)).st_blocks * 512)
    return sum(sizes)


def delete_for_good(workspace: Workspace, rounds: Sequence[Removed], forget: Callable[[], None]) -> None:
    """Delete the run directories of rounds that `forget` takes out of the store.

    It is called before them, so that no round without files can be restored. On a full disk it is called after them,
    as it needs the room that they occupy.

    Raises:
        LoratuiError: `forget` failed, and nothing is deleted; or a run directory could not be, after the others were.
    """
    if (runs_dir := workspace.runs_dir).is_symlink() and not runs_dir.exists():
        raise StoreError(
            f"{runs_dir} is a link to something that does not exist now: mount its disk, or delete the link"
        )
    is_full = False
    try:
        forget()
    except StoreError as error:
        is_full = _makes_room(workspace) and getattr(error.__cause__, "errno", None) in FULL
        if not is_full:
            raise
    errors: list[LoratuiError] = []
    for each in rounds:
        try:
            _delete_run(workspace, each)
        except LoratuiError as error:
            errors.append(error)
    if is_full:
        forget()
    if errors:
        raise errors[0]


def _makes_room(workspace: Workspace) -> bool:
    """Return True if the run directories are on the disk of the store."""
    try:
        return os.stat(workspace.runs_dir).st_dev == os.stat(workspace.store_path).st_dev
    except OSError:
        return False


def _delete_run(workspace: Workspace, removed: Removed) -> None:
    """Delete a run directory; of one that is a link the link alone, as `rm` does.

    `runs/` may be a link too, such as to a larger disk: then a directory is deleted only if its spec names this round.

    Raises:
        LoratuiError: it cannot be deleted, or its id is no name of a directory.
    """
    run = workspace.run_dir(removed.id)
    path = run.path
    try:
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            if workspace.runs_dir.is_symlink() and not _is_of_round(run, removed.id):
                raise StoreError(
                    f"{path} was not deleted: {workspace.runs_dir} is a link, and the directory has no spec.json of "
                    f"round {removed.number}: delete it yourself"
                )
            shutil.rmtree(path)
    except OSError as error:
        raise StoreError(
            f"round {removed.number} is deleted, but {path} could not be deleted: {reason_of(error)}"
        ) from error


def _is_of_round(run: RunDir, round_id: str) -> bool:
    try:
        return read_queued(run)[0].id == round_id
    except (OSError, ValueError):
        return False


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
        RoundError: it is not in the trash.
    """
    stored = draft.table(TABLE).get(doc_id=number)
    if not isinstance(stored, Document):
        raise RoundError(f"round {number} is not in the trash: `loratui trash` lists what is")
    document = {key: value for key, value in stored.items() if key not in ("removed", "overdue")}
    forget(draft, [number])
    draft.table("rounds").insert(Document(document, doc_id=number))
    return document


def redate(draft: TinyDB, now: float) -> None:
    """Have the week of each round that was removed while the clock was wrong begin now, and note whose week is over."""
    for removed in removed_in(draft.storage.read() or {}):
        if corrections := removed.corrections(now):
            stored = draft.table(TABLE).get(doc_id=removed.number)
            assert isinstance(stored, Document)
            put_documents(draft.table(TABLE), [Document({**stored, **corrections}, doc_id=removed.number)])


def forget(draft: TinyDB, numbers: Iterable[int]) -> None:
    """Delete the rounds of these numbers from the trash for good."""
    table = draft.table(TABLE)
    table.remove(doc_ids=[number for number in numbers if table.contains(doc_id=number)])

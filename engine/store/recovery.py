"""Rounds from what is left of them: their run directories, beside the documents of an old store."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import StoreError, reason_of
from engine.files.paths import ROUND_ID, RunDir, Workspace
from engine.runs.run_tail import RunTail
from engine.runs.snapshot import RunSnapshot, result_of
from engine.runs.spec_file import merged, read_queued
from engine.spec.round import Round, Status
from engine.store.documents import new_round, to_round
from engine.store.json_storage import KEY, Tables
from engine.store.trash import removed_in

ANNOTATIONS = ("name", "note", "tags", "pinned")  # what a person says of a round, which decides nothing
Documents = Mapping[str, Mapping[str, Any]]


class Salvage(Struct, frozen=True):
    """What came of it: the documents, and in words which rounds have another number now ("" if none)."""

    documents: Documents
    told: str


def rounds_of_runs(workspace: Workspace) -> list[Round]:
    """The rounds of all run directories whose spec can be read, by number, the earlier of equals first."""
    try:
        runs = [RunDir(spec.parent) for spec in workspace.runs_dir.glob("*/spec.json")]
    except OSError as error:
        raise StoreError(f"{workspace.runs_dir} cannot be read: {reason_of(error)}") from error
    rounds = [round_ for run in runs if (round_ := _read_run(run)) is not None]
    return sorted(rounds, key=lambda round_: (round_.number, round_.created or 0.0, round_.id))


def _read_run(run: RunDir) -> Round | None:
    """A round from its run directory, whose name is its id; one that never began comes back held."""
    if not ROUND_ID.fullmatch(run.path.name):
        return None
    try:
        queued, _ = read_queued(run)
        snapshot = RunSnapshot(RunTail(run.events).poll())
    except (OSError, ValueError):
        return None
    queued = msgspec.structs.replace(queued, id=run.path.name)
    if snapshot.started is None:
        return new_round(queued, Status.HELD)
    ended = snapshot.status is not None
    # Without a last word it may still be training: as `running` the runner looks for its engine and records the end.
    return msgspec.structs.replace(
        new_round(queued, snapshot.status or Status.RUNNING, tuple(snapshot.warnings)),
        result=result_of(snapshot, run),
        message=snapshot.message,
        started=snapshot.started.time,
        ended=snapshot.last_time if ended else None,
        process=None if ended else snapshot.started.process,
    )


def bring_back(old: Tables, backup: Tables, found: list[Round], last_number: int, stale: bool) -> Salvage:
    """The rounds of `old`, as `backup` has them where they do not hold together, and those of `found` that it lacks.

    No round is left out but those that were deleted: one whose number another has gets the next free one, and a
    document that does not hold together stays as it is if nothing better is found.

    Args:
        found: as from `rounds_of_runs`.
        last_number: the highest number that was ever given.
        stale: whether `old` may be older than the run directories, which then have the last word.
    """
    result: dict[str, Mapping[str, Any]] = {}
    keys: dict[str, str] = {}
    for key, document in old.get("rounds", {}).items():
        better = backup.get("rounds", {}).get(key, document)
        result[key] = document if round_of(key, document) is not None else better
        if (round_ := round_of(key, result[key])) is not None:
            keys[round_.id] = key
    gone = {item.id for item in removed_in(old)} - set(keys)
    found = [round_ for round_ in found if round_.id not in gone]
    last = max([last_number, *(round_.number for round_ in found if KEY.fullmatch(str(round_.number)))])
    renumbered = []
    for round_ in found:
        key = keys.get(round_.id, str(round_.number))
        known = result.get(key)
        if round_.id in keys:
            if stale:
                with suppress(msgspec.ValidationError):  # beside what it knows it holds a number too large to hold
                    result[key] = merged(known, _news(round_))
        elif KEY.fullmatch(key) and (known is None or _is_broken_record_of(round_, key, known)):
            result[key] = msgspec.to_builtins(round_)
        else:
            last += 1
            renumbered.append(f"round {round_.number} of runs/{round_.id} is round {last} now")
            result[str(last)] = msgspec.to_builtins(msgspec.structs.replace(round_, number=last))
    return Salvage(result, ", ".join(renumbered) + (", as its number was not to be had" if renumbered else ""))


def round_of(key: str, document: Mapping[str, Any]) -> Round | None:
    """The round of a document, None if this version cannot read it."""
    try:
        return to_round(int(key), document)
    except StoreError:
        return None


def _is_broken_record_of(round_: Round, key: str, document: Mapping[str, Any]) -> bool:
    try:
        return round_of(key, document) is None and document.get("id") == round_.id
    except msgspec.ValidationError:  # not even its id
        return True


def _news(round_: Round) -> dict[str, Any]:
    """What a run directory knows better than an old document. Of a round that never began that is what it is called."""
    fields: dict[str, Any] = msgspec.to_builtins(round_)
    ran = () if round_.status is Status.HELD else ("status", "result", "message", "started", "ended", "process")
    return {name: fields[name] for name in (*ANNOTATIONS, *ran)}

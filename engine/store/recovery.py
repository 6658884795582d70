"""Recovery of rounds from their run directories and from the documents of an old store."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import StoreError, reason_of
from engine.files.paths import ROUND_ID, RunDir, Workspace
from engine.runs.run_tail import RunTail
from engine.runs.snapshot import RunSnapshot, circumstances_of, plan_of, result_of
from engine.runs.spec_file import merge_fields, read_queued
from engine.spec.round import Round, Status
from engine.store.documents import new_round, to_round
from engine.store.json_format import KEY, Tables
from engine.store.trash import removed_in

ANNOTATIONS = ("name", "note", "tags", "pinned")  # what a person writes about a round; no effect on training
RAN = (
    "status", "result", "message", "started", "ended", "process", "device", "resumed_from", "disk_bytes",
    "beside_steps",
)  # fmt: skip
Documents = Mapping[str, Mapping[str, Any]]


class Recovered(Struct, frozen=True):
    """The recovered documents, and a sentence on the rounds that have another number now ("" if none)."""

    documents: Documents
    renumbered: str


def rounds_of_runs(workspace: Workspace) -> list[Round]:
    """Read the rounds of all run directories whose spec can be read, by number, the earlier of equals first."""
    try:
        runs = [RunDir(spec.parent) for spec in workspace.runs_dir.glob("*/spec.json")]
    except OSError as error:
        raise StoreError(f"{workspace.runs_dir} cannot be read: {reason_of(error)}") from error
    rounds = [round_ for run in runs if (round_ := _read_run(run)) is not None]
    return sorted(rounds, key=lambda round_: (round_.number, round_.created or 0.0, round_.id))


def _read_run(run: RunDir) -> Round | None:
    """Read a round from its run directory, whose name is its id; one that never started becomes held."""
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
    # Without a final event it may still train: for a running round the runner finds the engine and records the end.
    return msgspec.structs.replace(
        new_round(queued, snapshot.status or Status.RUNNING, tuple(snapshot.warnings)),
        plan=plan_of(snapshot, queued.spec, queued.plan),
        result=result_of(snapshot, run),
        **circumstances_of(snapshot, run),
        message=snapshot.message,
        started=snapshot.started.time,
        ended=snapshot.last_time if ended else None,
        process=None if ended else snapshot.started.process,
    )


def recover(old: Tables, backup: Tables, from_runs: list[Round], last_number: int, stale: bool) -> Recovered:
    """Combine the rounds of `old`, those of `backup` where `old` is broken, and those that only run directories have.

    Only deleted rounds are left out: a round whose number is in use gets the next free one, and a broken document stays
    as it is if there is no better one.

    Args:
        from_runs: the result of `rounds_of_runs`.
        last_number: the highest number that was ever used.
        stale: whether `old` may be older than the run directories, which then overrule it.
    """
    result: dict[str, Mapping[str, Any]] = {}
    keys: dict[str, str] = {}
    for key, document in old.get("rounds", {}).items():
        better = backup.get("rounds", {}).get(key, document)
        result[key] = document if round_of(key, document) is not None else better
        if (round_ := round_of(key, result[key])) is not None:
            keys[round_.id] = key
    deleted = {removed.id for removed in removed_in(old)} - set(keys)
    from_runs = [round_ for round_ in from_runs if round_.id not in deleted]
    last = max([last_number, *(round_.number for round_ in from_runs if KEY.fullmatch(str(round_.number)))])
    renumbered = []
    for round_ in from_runs:
        key = keys.get(round_.id, str(round_.number))
        current = result.get(key)
        if round_.id in keys:
            if stale:
                with suppress(msgspec.ValidationError):  # an unknown field holds a number that is too large
                    result[key] = merge_fields(current, _newer_fields(round_))
        elif KEY.fullmatch(key) and (current is None or _is_broken_record_of(round_, key, current)):
            result[key] = msgspec.to_builtins(round_)
        else:
            last += 1
            renumbered.append(f"round {round_.number} of runs/{round_.id} is round {last} now")
            result[str(last)] = msgspec.to_builtins(msgspec.structs.replace(round_, number=last))
    return Recovered(result, ", ".join(renumbered) + (", as its number was in use" if renumbered else ""))


def round_of(key: str, document: Mapping[str, Any]) -> Round | None:
    """Return the round of a document, None if this version cannot read it."""
    try:
        return to_round(int(key), document)
    except StoreError:
        return None


def _is_broken_record_of(round_: Round, key: str, document: Mapping[str, Any]) -> bool:
    try:
        return round_of(key, document) is None and document.get("id") == round_.id
    except msgspec.ValidationError:  # not even its id
        return True


def _newer_fields(round_: Round) -> dict[str, Any]:
    """Return the fields in which a run directory overrules an old document; only annotations if it never started."""
    fields: dict[str, Any] = msgspec.to_builtins(round_)
    ran = () if round_.status is Status.HELD else RAN
    return {name: fields[name] for name in (*ANNOTATIONS, *ran)}

"""Rounds as documents of the store and as `runs/<id>/spec.json`, also where a later version wrote them.

Fields that this version does not know are ignored when reading and preserved when changing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from engine.errors import StoreError
from engine.runs.spec_file import QueuedRound, known_fields
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.json_format import Record, Tables

_decoder = msgspec.json.Decoder(Round)


def to_round(number: int, document: Mapping[str, Any]) -> Round:
    """Decode the round of a document; raises StoreError, which names the round, if the document is not valid."""
    try:
        try:
            round_ = _decoder.decode(document.raw) if isinstance(document, Record) else msgspec.convert(document, Round)
        except msgspec.ValidationError:  # perhaps only because of a setting of a later version
            round_ = msgspec.convert(known_fields(document), Round)
        if round_.number != number:
            raise msgspec.ValidationError(f"its number is {round_.number}")
        return round_
    except msgspec.ValidationError as error:
        raise StoreError(
            f"round {number} in experiments.json is not valid ({error}): correct it there, or run `loratui rebuild`"
        ) from error


def valid_rounds(tables: Tables) -> Iterator[Round]:
    """Yield the rounds of a file as they are written there, without those that are broken."""
    for key, document in tables["rounds"].items():
        with suppress(StoreError):
            yield to_round(int(key), document)


def state_of(round_: Round) -> str:
    """Say which status a round has, and its message."""
    return f"round {round_.number} is {round_.status}" + (f" ({round_.message})" if round_.message else "")


def share_equal_parts(round_: Round, parts: dict[Any, Any]) -> Round:
    """Replace the parts of a round by equal objects of `parts`: of ten thousand rounds few have a spec of their own.

    Args:
        parts: maps specs, parts of specs and plans to themselves; those of the round are added.
    """
    spec = parts.get(round_.spec)
    if spec is None:
        spec = Spec(*(parts.setdefault(part, part) for part in msgspec.structs.astuple(round_.spec)))
        parts[spec] = spec
    return msgspec.structs.replace(round_, spec=spec, plan=parts.setdefault(round_.plan, round_.plan))


def new_round(queued: QueuedRound, status: Status, warnings: tuple[str, ...] = ()) -> Round:
    """Make the round of a queued spec."""
    return Round(
        id=queued.id,
        number=queued.number,
        name=queued.name,
        status=status,
        note=queued.note,
        tags=queued.tags,
        pinned=queued.pinned,
        parent=queued.parent,
        spec=queued.spec,
        plan=queued.plan,
        created=queued.created,
        turn=queued.created,
        warnings=warnings,
    )

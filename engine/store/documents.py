"""A round as a document of the store, and as `runs/<id>/spec.json`, also where a later version wrote it.

What this version does not know in a document is passed over in reading and kept in changing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.errors import StoreError
from engine.runs.spec_file import QueuedRound, known_fields
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.json_storage import Record

_decoder = msgspec.json.Decoder(Round)


def to_round(number: int, document: Mapping[str, Any]) -> Round:
    """The round of a document; raises StoreError, which names the round, if it does not hold together."""
    try:
        try:
            round_ = _decoder.decode(document.raw) if isinstance(document, Record) else msgspec.convert(document, Round)
        except msgspec.ValidationError:  # perhaps by nothing but a setting that a later version has
            round_ = msgspec.convert(known_fields(document), Round)
        if round_.number != number:
            raise msgspec.ValidationError(f"its number is {round_.number}")
        return round_
    except msgspec.ValidationError as error:
        raise StoreError(
            f"round {number} in experiments.json does not hold together ({error}): correct it there, or run "
            "`loratui rebuild`"
        ) from error


def sharing(round_: Round, known: dict[Any, Any]) -> Round:
    """The round made of the equal parts that are `known` already: of ten thousand rounds few have a spec of their own.

    Args:
        known: specs, parts of specs and plans by themselves, to which those of the round are added.
    """
    spec = known.get(round_.spec)
    if spec is None:
        spec = Spec(*(known.setdefault(part, part) for part in msgspec.structs.astuple(round_.spec)))
        known[spec] = spec
    return msgspec.structs.replace(round_, spec=spec, plan=known.setdefault(round_.plan, round_.plan))


def new_round(queued: QueuedRound, status: Status, warnings: tuple[str, ...] = ()) -> Round:
    """The round of a queued spec."""
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

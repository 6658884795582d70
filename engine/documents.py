"""A round as a document of the store, and as `runs/<id>/spec.json`, also where a later version wrote it.

What this version does not know in a document is passed over in reading and kept in changing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import StoreError
from engine.jsonfile import NoPlainFile, read_plain
from engine.plan import Plan
from engine.rounds import Round
from engine.spec import Spec
from engine.storage import Record
from engine.workspace import RunDir

_decoder = msgspec.json.Decoder(Round)


class QueuedRound(Struct, frozen=True, kw_only=True):
    """A round as it was queued: the content of `runs/<id>/spec.json`, from which the index can be rebuilt."""

    id: str
    number: int
    name: str
    note: str
    tags: tuple[str, ...] = ()
    pinned: bool = False
    parent: int | None
    created: float
    plan: Plan
    spec: Spec


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


def known_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document without the fields of its spec that only a later version knows; of other parts they do no harm."""
    fields = dict(document)
    groups = {field.name: field.type.__struct_fields__ for field in msgspec.structs.fields(Spec)}
    if isinstance(spec := fields.get("spec"), dict):
        fields["spec"] = {
            name: {key: value for key, value in group.items() if key in groups[name]}
            if isinstance(group, dict)
            else group
            for name, group in spec.items()
            if name in groups
        }
    return fields


def merged(old: object, new: object) -> Any:
    """`new` with what only `old` has: fields, at any depth, that the writer of `new` does not know."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{name: merged(old.get(name), value) for name, value in new.items()}}


def read_queued(run: RunDir) -> tuple[QueuedRound, dict[str, Any]]:
    """A run's `spec.json`, and all of its fields.

    Raises:
        ValueError: it is not what loratui wrote (msgspec's errors are ValueErrors, too).
        OSError: it cannot be read.
    """
    try:
        fields = msgspec.json.decode(read_plain(run.spec), type=dict[str, Any])
        return msgspec.convert(known_fields(fields), QueuedRound), fields
    except RecursionError as error:
        raise NoPlainFile("it nests too deep") from error


def encode_queued(queued: QueuedRound, fields: Mapping[str, Any] | None = None) -> bytes:
    """What to write to `spec.json`; `fields` are those it had."""
    document = merged(fields or {}, msgspec.to_builtins(queued))
    return msgspec.json.format(msgspec.json.encode(document), indent=1)

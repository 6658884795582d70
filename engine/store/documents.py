"""Rounds as documents of the store and as `runs/<id>/spec.json`, also where a later version wrote them.

Fields that this version does not know are ignored when reading and preserved when changing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from engine.errors import StoreError
from engine.runs.spec_file import QueuedRound, known_fields
from engine.spec.plan import Plan
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.json_format import Record, Tables

T = TypeVar("T")

_decoder = msgspec.json.Decoder(Round)


def _undecoded(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    """Return a field of `Round` for a struct that keeps the text of specs and plans as it is."""
    kind = msgspec.Raw if field.name in ("spec", "plan") else field.type
    default: dict[str, Any] = {"default": field.default, "default_factory": field.default_factory}
    return field.name, kind, msgspec.field(**default)


_Undecoded = msgspec.defstruct("_Undecoded", map(_undecoded, msgspec.structs.fields(Round)), kw_only=True)


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


class RoundReader:
    """Decodes the rounds of a file, and each text of a spec or plan once: of ten thousand rounds few have one alone."""

    def __init__(self, located: Callable[[Spec], Spec]) -> None:
        """`located` makes the paths of a spec absolute."""
        self._located = located
        self._decoder = msgspec.json.Decoder(_Undecoded)
        self._by_text: dict[bytes, Any] = {}
        self._parts: dict[Any, Any] = {}  # equal parts of specs that differ elsewhere are one object too

    def read(self, number: int, document: Mapping[str, Any]) -> Round:
        """Return the round of a document; raises StoreError, which names the round, if the document is not valid."""
        try:
            if isinstance(document, Record):
                fields = msgspec.structs.asdict(self._decoder.decode(document.raw))
                fields["spec"] = self._shared(fields["spec"], Spec, self._with_shared_parts)
                fields["plan"] = self._shared(fields["plan"], Plan, lambda plan: plan)
                if fields["number"] == number:
                    return Round(**fields)
        except msgspec.ValidationError:
            pass  # the sentence on it, and the settings of a later version, need the whole document
        round_ = to_round(number, document)
        return msgspec.structs.replace(round_, spec=self._with_shared_parts(round_.spec))

    def _shared(self, text: msgspec.Raw, kind: type[T], shared: Callable[[T], T]) -> T:
        key = bytes(text)
        if key not in self._by_text:
            self._by_text[key] = shared(msgspec.json.decode(key, type=kind))
        value: T = self._by_text[key]
        return value

    def _with_shared_parts(self, spec: Spec) -> Spec:
        located = self._located(spec)
        spec = Spec(*(self._parts.setdefault(part, part) for part in msgspec.structs.astuple(located)))
        shared: Spec = self._parts.setdefault(spec, spec)
        return shared


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
        trial=queued.trial,
        spec=queued.spec,
        plan=queued.plan,
        predicted=queued.predicted,
        created=queued.created,
        turn=queued.created,
        warnings=warnings,
    )

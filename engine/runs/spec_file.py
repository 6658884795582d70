"""Read and write `spec.json` of a run directory, the round as it was queued."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import SpecError, reason_of
from engine.files.atomic import NoPlainFile, read_plain
from engine.files.paths import RunDir
from engine.spec.plan import Plan
from engine.spec.portable import with_located_paths
from engine.spec.round import Prediction, Trial
from engine.spec.schema import Spec, decode_spec


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
    predicted: Prediction | None = None
    trial: Trial | None = None


def known_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the fields of a document's spec that only a later version knows; unknown fields elsewhere do no harm."""
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


def merge_fields(old: object, new: object) -> Any:
    """Add to `new` the fields, at any depth, that only `old` has, because the writer of `new` does not know them."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{name: merge_fields(old.get(name), value) for name, value in new.items()}}


def read_queued(run: RunDir) -> tuple[QueuedRound, dict[str, Any]]:
    """Read a run's `spec.json`; returns also all of its fields.

    Raises:
        ValueError: loratui did not write it (msgspec's errors are ValueErrors).
        OSError: it cannot be read.
    """
    try:
        fields = msgspec.json.decode(read_plain(run.spec), type=dict[str, Any])
        return msgspec.convert(known_fields(fields), QueuedRound), fields
    except RecursionError as error:
        raise NoPlainFile("it is nested too deeply") from error


def encode_queued(queued: QueuedRound, fields: Mapping[str, Any] | None = None) -> bytes:
    """Return the new content of `spec.json`, whose fields were `fields`."""
    document = merge_fields(fields or {}, msgspec.to_builtins(queued))
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def read_spec(run: RunDir) -> Spec:
    """Return the spec in the run directory, its paths absolute; raises SpecError if it cannot be read."""
    try:
        spec = decode_spec(msgspec.json.decode(read_plain(run.spec))["spec"])
    except OSError as error:
        raise SpecError(f"{os.path.abspath(run.spec)} cannot be read: {reason_of(error)}") from error
    except (KeyError, TypeError) as error:
        raise SpecError(f"{os.path.abspath(run.spec)} holds no spec of a round: restore it from a backup") from error
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise SpecError(f"{os.path.abspath(run.spec)} cannot be read: {error}") from error
    return with_located_paths(spec, run.workspace_root)

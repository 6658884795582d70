"""A form that was left before its round was queued, as a draft, and the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from engine.errors import LoratuiError
from engine.files.drafts import Draft
from engine.spec.fields import spec_fields
from engine.spec.round import Round
from engine.spec.schema import decode_spec
from tui.screens.form.start_from import Origin

FORM = "form of a new round"
NAME, NOTE = "name", "note"
# What the form began with.
START, START_NAME, START_SOURCE, PARENT = "start", "start.name", "start.source", "start.parent"


def form_texts(origin: Origin, name: str, note: str, changed: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the draft of a form: what it began with, its name and note, and the `changed` fields."""
    parent = {PARENT: origin.parent.id} if origin.parent is not None else {}
    start = {START: json.dumps(msgspec.to_builtins(origin.spec)), START_NAME: origin.name}
    if origin.source:
        start[START_SOURCE] = origin.source
    return {**start, **parent, NAME: name, NOTE: note, **changed}


def unfinished_forms(drafts: Sequence[Draft], rounds: Sequence[Round]) -> list[Origin]:
    """Return the forms in `drafts` as origins of new rounds; one that cannot be read is left out."""
    parents = {round_.id: round_ for round_ in rounds}
    origins = []
    for draft in drafts:
        try:
            spec = decode_spec(json.loads(draft.texts[START]))
        except (LoratuiError, ValueError, KeyError, RecursionError):
            continue
        parent = parents.get(draft.texts.get(PARENT, ""))
        name, source = draft.texts.get(START_NAME, ""), draft.texts.get(START_SOURCE, "")
        origins.append(Origin(spec, name, parent, draft, source))
    return origins


def changed_texts(draft: Draft) -> dict[str, str]:
    """Return the fields that were changed in the form, by key."""
    return {key: text for key, text in draft.texts.items() if key in spec_fields()}

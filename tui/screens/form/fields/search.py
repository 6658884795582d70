"""The search for fields by a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.spec.fields import SpecField

FULL_TEXT_LETTERS = 3  # shorter words are looked for only where a word of a name begins
MOST = 20  # more fields than anybody reads


def matching_fields(text: str, fields: Iterable[SpecField]) -> list[SpecField]:
    """Return the fields that have every word of `text`, those with the words in their names first, at most `MOST`.

    A word of at least three letters may stand anywhere in the key or the description. A shorter one begins a word of
    the name, or is a word of the description. A text without words means no field.
    """
    words = text.lower().replace("_", " ").split()
    if not words:
        return []
    by_place: tuple[list[SpecField], ...] = ([], [], [], [])
    for field in fields:
        name = field.name.lower().split("_")
        if name == words:
            by_place[0].append(field)
        elif all(any(part.startswith(word) for part in name) for word in words):
            by_place[1].append(field)
        elif _has(field.name, words):
            by_place[2].append(field)
        elif _has(f"{field.key} {field.description}", words):
            by_place[3].append(field)
    return [field for fields_there in by_place for field in fields_there][:MOST]


def _has(text: str, words: Sequence[str]) -> bool:
    text = text.lower()
    return all(word in (text if len(word) >= FULL_TEXT_LETTERS else text.split()) for word in words)

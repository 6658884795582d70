"""Checks of what a person writes about a round: its name, note and tags."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.errors import SpecError
from engine.text.redact import holds_secret


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags, each once; raises SpecError for one that is empty or has a space in it."""
    for tag in tags:
        if tag.split() != [tag]:
            raise SpecError(f"tag {tag!r} must be one word: write it without spaces, such as {'-'.join(tag.split())!r}")
    return tuple(dict.fromkeys(tags))


def check_text(*texts: object) -> None:
    """Raise SpecError for a text that is not UTF-8 or contains a token or password."""
    try:
        encoded = msgspec.json.encode(texts)
    except UnicodeEncodeError as error:
        raise SpecError(f"{error.object!r} is not valid UTF-8 text: type it again") from error
    if holds_secret(encoded.decode()):
        raise SpecError(
            "the spec, the name or the note contains a token or a password, and others may read it: remove it, and set "
            "it in the environment, such as in HF_TOKEN"
        )

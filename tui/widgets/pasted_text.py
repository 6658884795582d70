"""Read what a terminal sends as pasted: all of it, or a sentence on why nothing of it can be used."""

from __future__ import annotations

import re

from engine.text.sanitize import JOINERS
from tui.terminal.console import clean

MAX_CHARACTERS = 20_000  # more would delay every later key by milliseconds
LINE_BREAK = re.compile(r"[ \t]*\n\s*")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class PasteRefused(ValueError):
    """A pasted text of which nothing is used; the message is for the person."""


def read_paste(pasted: str, *, multiline: bool) -> tuple[str, str]:
    """Return a pasted text as a field takes it, and a remark on what became of it, "" for nothing.

    Empty lines around it are left out. With `multiline` line breaks and tabs stay; otherwise they become spaces.

    Raises:
        PasteRefused: it is too long, or has characters that control a terminal.
    """
    check_paste(pasted)
    lines = pasted.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    text = lines if multiline else LINE_BREAK.sub(" ", lines).replace("\t", " ")
    visible = _without_hidden(text)
    if visible != text:
        return visible, "the pasted text has invisible characters, which are shown as \ufffd now"
    if not multiline and (breaks := lines.count("\n")):
        return text, f"the {breaks + 1} pasted lines are one line now, joined by spaces"
    return text, ""


def _without_hidden(text: str) -> str:
    """Replace hidden characters by symbols; joiners in emoji and in words stay, which `clean` would remove."""
    pieces, end = [], 0
    for joiner in JOINERS.finditer(text):
        pieces += [clean(text[end : joiner.start()]), joiner.group()]
        end = joiner.end()
    return "".join([*pieces, clean(text[end:])])


def check_paste(pasted: str) -> None:
    """Raise PasteRefused for a text that no field takes."""
    if len(pasted) > MAX_CHARACTERS:
        raise PasteRefused(
            f"nothing was pasted: the text has {len(pasted):,} characters, and a field takes {MAX_CHARACTERS:,}"
        )
    if (control := CONTROL.search(pasted)) is not None:
        raise PasteRefused(
            f"nothing was pasted: the text has the control character U+{ord(control.group()):04X}; remove it first"
        )

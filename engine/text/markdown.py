"""Markdown tables, and text that Markdown shows letter for letter."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.text.sanitize import clean_line

MARKDOWN = re.compile(
    r"(?i)(?P<html>[&<>])|(?P<marks>[\\`*~|\[\]]|(?<![^\W_])_|_(?![^\W_]))"  # an underscore between letters is none
    r"|(?P<signs>[@#$]|(?<=www)\.|/(?=/)|:(?=[\w+-]+:)|(?<=gh)-(?=\d))"
)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> str:
    """A GitHub table; the cells must be escaped already. `right` tells the columns aligned to the right."""
    marks = ["---:" if index < len(right) and right[index] else "---" for index in range(len(titles))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (titles, marks, *rows))


def escape_markdown(text: str) -> str:
    """`text` as GitHub shows it letter for letter on one line, hidden characters as symbols (`engine.text.sanitize`).

    No markup, table cell, HTML, link or formula begins in it, and no mention, issue or emoji is found by what looks for
    them later, in the text of the rendered page: an empty comment parts the sign from what follows it.
    """
    return MARKDOWN.sub(_escaped, clean_line(text))


def as_sentence(text: str) -> str:
    """What loratui has to say, as a sentence of Markdown."""
    said = escape_markdown(text)
    return f"{said[:1].upper()}{said[1:]}."


def _escaped(match: re.Match[str]) -> str:
    if match["marks"]:
        return f"\\{match.group()}"
    if match["html"]:
        return {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[match.group()]
    return f"&#{ord(match.group())};<!-- -->"

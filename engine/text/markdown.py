"""Write Markdown tables, and escape text so that Markdown shows it letter for letter."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.text.sanitize import clean_line

MARKDOWN = re.compile(
    r"(?i)(?P<html>[&<>])|(?P<marks>[\\`*~|\[\]]|(?<![^\W_])_|_(?![^\W_]))"  # `_` between letters is not markup
    r"|(?P<signs>[@#$]|(?<=www)\.|/(?=/)|:(?=[\w+-]+:)|(?<=gh)-(?=\d))"
)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> str:
    """Return a GitHub table of cells that are escaped already. `right` says which columns align to the right."""
    marks = ["---:" if index < len(right) and right[index] else "---" for index in range(len(titles))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (titles, marks, *rows))


def escape_markdown(text: str) -> str:
    """Escape `text` so that GitHub shows it letter for letter on one line, hidden characters as symbols.

    It starts no markup, table cell, HTML, link or formula. GitHub looks for mentions, issues and emoji later, in the
    text of the rendered page; an empty comment after the sign keeps it from finding any.
    """
    return MARKDOWN.sub(_escaped, clean_line(text))


def as_sentence(text: str) -> str:
    """Return a message of loratui as a sentence in Markdown."""
    sentence = escape_markdown(text)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _escaped(match: re.Match[str]) -> str:
    if match["marks"]:
        return f"\\{match.group()}"
    if match["html"]:
        return {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[match.group()]
    return f"&#{ord(match.group())};<!-- -->"

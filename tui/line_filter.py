"""The last gate before the terminal: every line of every widget passes it."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.plain import clean


class PlainLines(LineFilter):
    """Shows what `clean` was forgotten on, or was pasted into a field, as symbols; each piece keeps its width."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """As `LineFilter.apply`: one line, in which a newline or a tab has no business either."""
        return [Segment(_harmless(text), style, control) for text, style, control in segments]


def _harmless(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    shown = clean(text).replace("\n", " ").replace("\t", " ")
    return text if shown == text else set_cell_size(shown, cell_len(text))

"""Filters for every line of every widget, just before the terminal."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

from tui.terminal.console import clean

DEFAULT_COLOURS = Style(color=RichColor.default(), bgcolor=RichColor.default())
BRIGHT = 110  # of 255, the mean of red, green and blue


class PlainLines(LineFilter):
    """Shows control characters that were not cleaned, such as pasted ones, as symbols; widths stay the same."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Clean the segments of one line, which must not contain a newline or a tab either."""
        return [Segment(_harmless(text), style, control) for text, style, control in segments]


def _harmless(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    shown = clean(text).replace("\n", " ").replace("\t", " ")
    return text if shown == text else set_cell_size(shown, cell_len(text))


class NoColours(LineFilter):
    """Removes all colours; text on a bright background is shown in reverse, as the screen is dark elsewhere."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text, style and _colourless(style), control) for text, style, control in segments]


@lru_cache(maxsize=1024)
def _colourless(style: Style) -> Style:
    ground = (style.color if style.reverse else style.bgcolor) or DEFAULT_COLOURS.bgcolor
    triplet = ground.triplet if ground is not None else None
    bright = triplet is not None and sum(triplet) / 3 > BRIGHT
    return style + DEFAULT_COLOURS + Style(reverse=bright)

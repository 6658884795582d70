"""Text that was not typed here, on its way to the terminal: everything shown passes `clean`, and this sees to it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from engine.text.sanitize import clean, clean_line

__all__ = ["PlainConsole", "clean", "clean_line", "say"]

PIPE_CELLS = 10_000


def say(text: str, *, error: bool = False, end: str = "\n") -> None:
    """`print`, to the standard output or the standard error, of `text` made harmless."""
    print(clean(text), end=end, file=sys.stderr if error else sys.stdout)


class PlainConsole(Console):
    """Rich's console without markup, that lets no control character of a renderable's text through.

    Without a terminal behind it its lines are whole: what reads them does not wrap.
    """

    def __init__(self, *, error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        super().__init__(
            stderr=error, highlight=False, markup=False, emoji=False, width=None if stream.isatty() else PIPE_CELLS
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `Console.render`, the text of the segments made harmless; what Rich itself tells the terminal stays."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else clean(text), style, control)

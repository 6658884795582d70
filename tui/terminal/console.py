"""Print text safely: everything that reaches the terminal passes `clean` first."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from engine.text.sanitize import clean, clean_line

__all__ = ["PlainConsole", "clean", "clean_line", "say"]

PIPE_CELLS = 10_000


def say(text: str, *, error: bool = False, end: str = "\n") -> None:
    """Print `text`, cleaned, to the standard output or the standard error."""
    print(clean(text), end=end, file=sys.stderr if error else sys.stdout)


class PlainConsole(Console):
    """Rich's console without markup and without the control characters in a renderable's text.

    If the output is not a terminal, lines are never wrapped, so that programs can read them.
    """

    def __init__(self, *, error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        super().__init__(
            stderr=error, highlight=False, markup=False, emoji=False, width=None if stream.isatty() else PIPE_CELLS
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as Rich does, and clean the text of each segment; Rich's own control codes stay."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else clean(text), style, control)

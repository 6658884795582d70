"""The tail of the engine's text log."""

from __future__ import annotations

from collections.abc import Sequence

from textual.widgets import Log

from tui.plain import clean

KEPT_LINES = 2000


class LogPane(Log):
    """The last lines of the log, following its end."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, max_lines=KEPT_LINES, highlight=False)

    def add(self, lines: Sequence[str]) -> None:
        """Append lines; of one that a carriage return wrote over, what it ended as."""
        if lines:
            self.write_lines([clean(line.rstrip("\r").rpartition("\r")[2]) for line in lines[-KEPT_LINES:]])

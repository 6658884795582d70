"""A banner above everything else that says what is wrong with the store."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui.terminal.console import clean_line


class Banner(Static):
    """A line for each sentence; it is hidden while there are none."""

    def __init__(self) -> None:
        super().__init__(id="banner", markup=False)
        self.display = False

    def show(self, sentences: list[str]) -> None:
        self.update(Content("\n".join(map(clean_line, sentences))))
        self.display = bool(sentences)

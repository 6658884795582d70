"""A banner above everything else that says what is wrong with the store."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import Static

from tui.terminal.console import clean_line
from tui.widgets.message_line import shortened

LINES = 6
UNUSED = 8  # cells of a line for the border and where a word did not fit


class Banner(Static):
    """A few lines for all sentences; it is hidden while there are none. The middle of a long sentence is left out."""

    def __init__(self) -> None:
        super().__init__(id="banner", markup=False)
        self.display = False
        self._sentences: Sequence[str] = ()

    def show(self, sentences: Sequence[str]) -> None:
        """Show the sentences, the first ones if there are more than lines."""
        self._sentences = sentences
        self.display = bool(sentences)
        self.draw()

    def draw(self) -> None:
        """Fit the sentences to the size of the terminal."""
        sentences = [clean_line(sentence) for sentence in self._sentences]
        if len(sentences) > LINES:
            sentences[LINES - 1 :] = [f"and {len(sentences) - LINES + 1} more"]
        width = max(1, self.app.size.width - self.styles.padding.width - UNUSED)
        heights = [-(-cell_len(sentence) // width) for sentence in sentences]
        while sum(heights) > LINES:
            heights[heights.index(max(heights))] -= 1
        texts = [shortened(sentence, height * width) for sentence, height in zip(sentences, heights, strict=True)]
        self.update(Content("\n".join(texts)))

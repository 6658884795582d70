"""A text that may change at every key."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class LiveText(Static):
    """Lay out the screen again only for a text with more or fewer lines than the one before.

    Without this a key in the form costs 10 to 19 % more processor time.
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._shown_content = Content("")

    def tell(self, content: Content) -> None:
        """Show `content`."""
        if content == self._shown_content:
            return
        self._shown_content = content
        before = self._lines()
        self.update(content, layout=False)
        if self._lines() != before:
            self.refresh(layout=True)

    def _lines(self) -> float | None:
        """Return the number of lines of the text; None before the widget has a width."""
        width = self.content_size.width
        if not width:
            return None
        lines: float = self.get_content_height(self.container_size, self.app.size, width)
        least, most = self.styles.min_height, self.styles.max_height
        lines = lines if most is None else min(lines, most.value)
        return lines if least is None else max(lines, least.value)

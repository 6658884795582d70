"""A text that is told anew at every key."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class LiveText(Static):
    """Has the screen laid out anew only by a text that takes more or fewer lines than the one before."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._shown_content = Content("")

    def tell(self, content: Content) -> None:
        """Show `told`."""
        if content == self._shown_content:
            return
        self._shown_content = content
        before = self._lines()
        self.update(content, layout=False)
        if self._lines() != before:
            self.refresh(layout=True)

    def _lines(self) -> float | None:
        """How many there are for the text; None as long as it has no width."""
        width = self.content_size.width
        if not width:
            return None
        lines: float = self.get_content_height(self.container_size, self.app.size, width)
        least, most = self.styles.min_height, self.styles.max_height
        lines = lines if most is None else min(lines, most.value)
        return lines if least is None else max(lines, least.value)

"""The screen that covers everything in a terminal that is too small."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Static

MIN_SIZE = Size(80, 22)  # 80x24 without the two lines that tmux or screen may take


class TooSmallScreen(ModalScreen[None]):
    """Says which size is needed. The screen below it keeps what was typed, and gets no keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "Quit", tooltip="Leave loratui; running rounds continue", id="small.quit"),
    ]
    DEFAULT_CSS = """
    TooSmallScreen { background: $background; align: center middle; }
    TooSmallScreen Static { width: 100%; text-align: center; }
    """

    def compose(self) -> ComposeResult:
        yield Static(self._sentence(self.app.size), markup=False)

    def on_resize(self, event: Resize) -> None:
        self.query_one(Static).update(self._sentence(event.size))

    def _sentence(self, size: Size) -> Content:
        return Content(
            f"loratui needs {MIN_SIZE.width}×{MIN_SIZE.height} characters, and this terminal has "
            f"{size.width}×{size.height}: make it larger, or press q to leave"
        )


def is_too_small(size: Size) -> bool:
    """Return True if a terminal of this size cannot show a whole screen."""
    return size.width < MIN_SIZE.width or size.height < MIN_SIZE.height

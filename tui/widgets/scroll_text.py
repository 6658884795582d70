"""Text to scroll through with the arrows or as in vim."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll


class ScrollText(VerticalScroll):
    """Scroll by lines, and to both ends."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "Down", show=False, tooltip="A line down", id="reading.down"),
        Binding("up,k", "scroll_up", "Up", show=False, tooltip="A line up", id="reading.up"),
        Binding("home,g", "scroll_home", "Top", show=False, tooltip="To the top", id="reading.top"),
        Binding("end,G", "scroll_end", "Bottom", show=False, tooltip="To the bottom", id="reading.bottom"),
    ]

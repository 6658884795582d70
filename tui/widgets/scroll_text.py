"""Text to scroll through with the arrows or as in vim."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from tui.widgets.key_scroll import KeyScroll


def scroll_bindings(name: str, first: str, last: str) -> list[BindingType]:
    """Return the keys of a pane to scroll through: ids begin with `name`, `first` and `last` say where its ends are."""
    return [
        Binding("j,down", "scroll_down", "Down", show=False, tooltip="A line down", id=f"{name}.down"),
        Binding("k,up", "scroll_up", "Up", show=False, tooltip="A line up", id=f"{name}.up"),
        Binding("pagedown,ctrl+f", "page_down", "Page down", show=False, tooltip="A page down", id=f"{name}.page_down"),
        Binding("pageup,ctrl+b", "page_up", "Page up", show=False, tooltip="A page up", id=f"{name}.page_up"),
        Binding("g,home", "scroll_home", "First", show=False, tooltip=first, id=f"{name}.first"),
        Binding("G,end", "scroll_end", "Last", show=False, tooltip=last, id=f"{name}.last"),
    ]


class ScrollText(KeyScroll, VerticalScroll):
    """Scroll by lines, and to both ends."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "Down", show=False, tooltip="A line down", id="reading.down"),
        Binding("up,k", "scroll_up", "Up", show=False, tooltip="A line up", id="reading.up"),
        Binding("home,g", "scroll_home", "Top", show=False, tooltip="To the top", id="reading.top"),
        Binding("end,G", "scroll_end", "Bottom", show=False, tooltip="To the bottom", id="reading.bottom"),
    ]

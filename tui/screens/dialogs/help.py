"""The help: all keys of a screen, made from its bindings."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.terminal.console import clean_line
from tui.widgets.current_size import CurrentSize
from tui.widgets.scroll_text import ScrollText

MAX_KEYS_WIDTH = 18
MAX_TEXT_WIDTH = 65
AROUND_TEXT = 7  # cells of a dialog for border, padding and scrollbar
GAP = 2


class HelpScreen(ModalScreen[None], CurrentSize):
    """One line for each key. `groups` holds titles, each with pairs of keys and what they do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "app.pop_screen", "Close", tooltip="Close the help", id="help.close")
    ]
    DEFAULT_CSS = "HelpScreen .dialog { scrollbar-size-vertical: 1; }"

    def __init__(self, groups: Iterable[tuple[str, list[tuple[str, str]]]]) -> None:
        super().__init__()
        self._groups = list(groups)

    def compose(self) -> ComposeResult:
        with ScrollText(classes="dialog", can_focus=True) as dialog:
            dialog.border_subtitle = "esc close · ↑ ↓ scroll"
            yield Static(id="keys", markup=False)

    def on_resize(self, event: Resize) -> None:
        keys_width = max((cell_len(keys) for _, rows in self._groups for keys, _ in rows), default=0)
        keys_width = min(keys_width, MAX_KEYS_WIDTH)
        room = min(MAX_TEXT_WIDTH, event.size.width * 95 // 100 - AROUND_TEXT) - keys_width - GAP
        groups = [_group_text(title, rows, keys_width, max(1, room)) for title, rows in self._groups]
        self.query_one("#keys", Static).update(Content("\n\n").join(groups))


def _group_text(title: str, rows: list[tuple[str, str]], width: int, room: int) -> Content:
    """Return a title, and below it the keys in a column of `width` cells with what they do, wrapped to `room`."""
    lines = [Content.styled(clean_line(title), "bold $text-accent")]
    for keys, text in rows:
        key_names = clean_line(keys)
        wrapped = wrap(clean_line(text), room) or [""]
        gap = " " * max(1, width + GAP - cell_len(key_names))
        lines.append(Content.assemble((key_names, "bold $text-accent"), gap, wrapped[0]))
        lines += [Content(" " * (width + GAP) + line) for line in wrapped[1:]]
    return Content("\n").join(lines)

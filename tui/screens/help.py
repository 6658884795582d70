"""The keys of the screen beneath, made from its bindings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.plain import clean_line
from tui.widgets.reading import Reading

MAX_KEYS_WIDTH = 18


class HelpScreen(ModalScreen[None]):
    """One line per key. `groups` holds titles, and under each its keys and what they do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "app.pop_screen", "Close", tooltip="Close the help", id="help.close")
    ]
    DEFAULT_CSS = """
    HelpScreen .dialog { width: 78; scrollbar-size-vertical: 1; }
    """

    def __init__(self, groups: Iterable[tuple[str, list[tuple[str, str]]]]) -> None:
        super().__init__()
        self._groups = list(groups)

    def compose(self) -> ComposeResult:
        width = max((cell_len(keys) for _, rows in self._groups for keys, _ in rows), default=0)
        with Reading(classes="dialog", can_focus=True) as dialog:
            dialog.border_subtitle = "esc close · ↑ ↓ scroll"
            for title, rows in self._groups:
                yield Static(Content(clean_line(title)), classes="dialog-title", markup=False)
                yield KeyRows(rows, width)


class KeyRows(Vertical):
    """Keys and, beside them, what they do; a long text goes on beneath itself."""

    DEFAULT_CSS = """
    KeyRows { height: auto; margin-bottom: 1; }
    KeyRows Horizontal { height: auto; }
    KeyRows .help-keys { color: $text-accent; text-style: bold; }
    KeyRows .help-text { width: 1fr; padding-left: 2; }
    """

    def __init__(self, rows: list[tuple[str, str]], width: int) -> None:
        super().__init__()
        self._rows = rows
        self._width = width

    def compose(self) -> ComposeResult:
        for keys, text in self._rows:
            with Horizontal():
                shown = Static(Content(clean_line(keys)), classes="help-keys", markup=False)
                shown.styles.width = min(self._width, MAX_KEYS_WIDTH)
                yield shown
                yield Static(Content(clean_line(text)), classes="help-text", markup=False)

"""The help: all keys of a screen, made from its bindings."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.terminal.console import clean_line
from tui.widgets.scroll_text import ScrollText

MAX_KEYS_WIDTH = 18
TEXT_WIDTH = 65  # of a dialog without border, padding and scrollbar
GAP = 2


class HelpScreen(ModalScreen[None]):
    """One line for each key. `groups` holds titles, each with pairs of keys and what they do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "app.pop_screen", "Close", tooltip="Close the help", id="help.close")
    ]
    DEFAULT_CSS = "HelpScreen .dialog { scrollbar-size-vertical: 1; }"

    def __init__(self, groups: Iterable[tuple[str, list[tuple[str, str]]]]) -> None:
        super().__init__()
        self._groups = list(groups)

    def compose(self) -> ComposeResult:
        width = max((cell_len(keys) for _, rows in self._groups for keys, _ in rows), default=0)
        groups = [_group_text(title, rows, min(width, MAX_KEYS_WIDTH)) for title, rows in self._groups]
        with ScrollText(classes="dialog", can_focus=True) as dialog:
            dialog.border_subtitle = "esc close · ↑ ↓ scroll"
            yield Static(Content("\n\n").join(groups), markup=False)


def _group_text(title: str, rows: list[tuple[str, str]], width: int) -> Content:
    """Return a title, and below it the keys in a column of `width` cells with what they do; long texts are wrapped."""
    lines = [Content.styled(clean_line(title), "bold $text-accent")]
    for keys, text in rows:
        key_names = clean_line(keys)
        wrapped = wrap(clean_line(text), TEXT_WIDTH - width - GAP) or [""]
        gap = " " * max(1, width + GAP - cell_len(key_names))
        lines.append(Content.assemble((key_names, "bold $text-accent"), gap, wrapped[0]))
        lines += [Content(" " * (width + GAP) + line) for line in wrapped[1:]]
    return Content("\n").join(lines)

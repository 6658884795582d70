"""The keys of the screen beneath, made from its bindings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static


class HelpScreen(ModalScreen[None]):
    """One line per key. `groups` holds a title and the bindings under it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "app.pop_screen", "Close", id="help.close")
    ]

    def __init__(self, groups: Iterable[tuple[str, list[Binding]]]) -> None:
        super().__init__()
        self._groups = list(groups)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", can_focus=True):
            for title, bindings in self._groups:
                yield Static(title, classes="dialog-title", markup=False)
                yield Static(self._table(bindings), markup=False)
            yield Static("esc close", classes="hint", markup=False)

    def _table(self, bindings: list[Binding]) -> Table:
        table = Table.grid(padding=(0, 2))
        for binding in bindings:
            keys = " ".join(self.app.get_key_display(single) for single in Binding.make_bindings([binding]))
            table.add_row(Text(keys, "bold cyan"), Text(binding.tooltip or binding.description))
        return table

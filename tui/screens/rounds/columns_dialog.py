"""Which columns the table of rounds shows, and in which order: a list that is changed in place."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.compare.columns import columns
from engine.spec.fields import spec_fields
from tui.screens.rounds.column_layout import FIXED, ColumnLayout
from tui.widgets.table.cells import Cell, TableColumn
from tui.widgets.table.cursor_table import VirtualTable

HINT = "space shows or hides · < > moves it · esc back"


class ColumnList(VirtualTable):
    """A row per column of the table: whether it is shown, its title, and what it is."""

    COLUMNS = (
        TableColumn("shown", " "), TableColumn("title", "column"), TableColumn("key", "name in a filter", fills=True),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.column_layout = ColumnLayout()
        self._shown: Collection[str] = ()

    def show(self, layout: ColumnLayout, shown: Collection[str]) -> None:
        """Show this layout, with the keys of the columns that are `shown`; the cursor stays with its column."""
        self.column_layout, self._shown = layout, shown
        self.present(self.COLUMNS, [item.column.key for item in layout.columns()], self.cursor_key)

    def is_shown(self, key: str) -> bool:
        return key in self._shown

    def cells_of(self, row: int) -> list[Cell]:
        item = self.column_layout.columns()[row]
        key = item.column.key
        style = "" if self.is_shown(key) else "dim"
        texts = ("✓" if self.is_shown(key) else "", item.column.title, key)
        return [Cell(text, style) for text in texts]


class ColumnsScreen(ModalScreen[None]):
    """Calls `changed` with each new layout, so that the table beneath follows at once; it says which are then shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "show_or_hide", "Show or hide", tooltip="Show the column, or hide it", id="columns.toggle"),
        Binding(
            "K,less_than_sign", "shift_column(-1)", "Left", tooltip="Move the column to the left", id="columns.left"
        ),
        Binding(
            "J,greater_than_sign",
            "shift_column(1)",
            "Right",
            tooltip="Move the column to the right",
            id="columns.right",
        ),
        Binding("escape,v,q", "close", "Back", tooltip="Back to the table", id="columns.close"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    ColumnsScreen {
        & .dialog { width: 90; height: 80%; }
        & ColumnList { background: $surface; }
        & #column-told { height: 2; }
    }
    """

    def __init__(
        self, layout: ColumnLayout, shown: Collection[str], changed: Callable[[ColumnLayout], Collection[str]]
    ) -> None:
        super().__init__()
        self._list = ColumnList()
        self._before = layout, shown
        self._changed = changed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Columns", classes="dialog-title", markup=False)
            yield self._list
            yield Static(id="column-told", markup=False)
            yield Static(HINT, classes="hint", markup=False)

    def on_mount(self) -> None:
        self._list.show(*self._before)

    def on_virtual_table_highlighted(self) -> None:
        key = self._list.cursor_key
        if isinstance(key, str):
            field = spec_fields().get(key)
            self.query_one("#column-told", Static).update(Content(field.description if field else columns()[key].title))

    def on_virtual_table_selected(self) -> None:
        self.action_show_or_hide()

    def action_show_or_hide(self) -> None:
        layout, key = self._list.column_layout, self._list.cursor_key
        if isinstance(key, str) and key != FIXED:
            self._change(layout.with_shown(key, not self._list.is_shown(key)))

    def action_shift_column(self, by: int) -> None:
        layout, key = self._list.column_layout, self._list.cursor_key
        if isinstance(key, str):
            self._change(layout.with_moved(key, by, [item.column.key for item in layout.columns()]))

    def _change(self, layout: ColumnLayout) -> None:
        self._list.show(layout, self._changed(layout))

    def action_close(self) -> None:
        self.dismiss()

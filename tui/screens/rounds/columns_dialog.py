"""The list in which the columns of the table are shown, hidden and moved."""

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
from tui.widgets.current_size import CurrentSize
from tui.widgets.table.cells import Cell, TableColumn
from tui.widgets.table.cursor_table import VirtualTable

HINT = "space shows or hides · < > moves it · esc back"


class ColumnList(VirtualTable):
    """One row for each column of the table: a tick if it is shown, its title, and its key."""

    COLUMNS = (
        TableColumn("shown", " "), TableColumn("title", "column"), TableColumn("key", "name in a filter", fills=True),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.column_layout = ColumnLayout()
        self._shown: Collection[str] = ()

    def show(self, layout: ColumnLayout, shown: Collection[str]) -> None:
        """Show a layout; `shown` has the keys of the columns that the table shows. The cursor stays on its column."""
        self.column_layout, self._shown = layout, shown
        self.present(self.COLUMNS, [column.key for column in layout.columns()], self.cursor_key)

    def is_shown(self, key: str) -> bool:
        return key in self._shown

    def cells_of(self, row: int) -> list[Cell]:
        column = self.column_layout.columns()[row].column
        style = "" if self.is_shown(column.key) else "dim"
        texts = ("✓" if self.is_shown(column.key) else "", column.title, column.key)
        return [Cell(text, style) for text in texts]


class ColumnsScreen(ModalScreen[None], CurrentSize):
    """A dialog that changes a layout.

    Args:
        layout: the layout that is changed.
        shown: the keys of the columns that the table shows now.
        change: called with each new layout; it shows the table with it and returns the keys of the shown columns.
    """

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
        & #column-description { height: 2; }
    }
    """

    def __init__(
        self, layout: ColumnLayout, shown: Collection[str], change: Callable[[ColumnLayout], Collection[str]]
    ) -> None:
        super().__init__()
        self._list = ColumnList()
        self._before = layout, shown
        self._change_table = change

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Columns", classes="dialog-title", markup=False)
            yield self._list
            yield Static(id="column-description", markup=False)
            yield Static(HINT, classes="hint", markup=False)

    def on_mount(self) -> None:
        self._list.show(*self._before)

    def on_virtual_table_highlighted(self) -> None:
        key = self._list.cursor_key
        if isinstance(key, str):
            field = spec_fields().get(key)
            text = field.description if field else columns()[key].title
            self.query_one("#column-description", Static).update(Content(text))

    def on_virtual_table_selected(self) -> None:
        self.action_show_or_hide()

    def action_show_or_hide(self) -> None:
        layout, key = self._list.column_layout, self._list.cursor_key
        if isinstance(key, str) and key != FIXED:
            self._change(layout.with_shown(key, not self._list.is_shown(key)))

    def action_shift_column(self, by: int) -> None:
        layout, key = self._list.column_layout, self._list.cursor_key
        if isinstance(key, str):
            self._change(layout.with_moved(key, by, [column.key for column in layout.columns()]))

    def _change(self, layout: ColumnLayout) -> None:
        self._list.show(layout, self._change_table(layout))

    def action_close(self) -> None:
        self.dismiss()

"""A table with a cursor that keys and the mouse move, over `LineTable`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region
from textual.message import Message

from tui.widgets.table.cells import GAP, WIDEST, TableColumn
from tui.widgets.table.line_table import LineTable

NEEDS_A_ROW = ("select", "mark")


class VirtualTable(LineTable, can_focus=True):
    """A table with a cursor on a row, and with `chooses_columns` one on a column."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open", tooltip="Watch the selected round: curve, figures, log", id="table.open"),
        Binding("j,down", "move(1)", "Down", show=False, tooltip="To the next row", id="table.down"),
        Binding("k,up", "move(-1)", "Up", show=False, tooltip="To the row before", id="table.up"),
        Binding("g,home", "move_to(0)", "First", show=False, tooltip="To the first row", id="table.first"),
        Binding("G,end", "move_to(-1)", "Last", show=False, tooltip="To the last row", id="table.last"),
        Binding(
            "pagedown,ctrl+f", "move_page(1)", "Page down", show=False, tooltip="A page down", id="table.page_down"
        ),
        Binding("pageup,ctrl+b", "move_page(-1)", "Page up", show=False, tooltip="A page up", id="table.page_up"),
        Binding("l,right", "move_column(1)", "Next column", show=False, tooltip="To the next column", id="table.right"),
        Binding(
            "h,left", "move_column(-1)", "Previous column", show=False, tooltip="To the column before", id="table.left"
        ),
    ]

    class Highlighted(Message):
        """The cursor is on another row."""

    class Selected(Message):
        """The row under the cursor was chosen, by enter or a second click."""

    class HeaderClicked(Message):
        """The header of a column was clicked."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    @property
    def cursor_key(self) -> int | str | None:
        """The key of the row under the cursor."""
        return self.rows[self.cursor_row] if 0 <= self.cursor_row < len(self.rows) else None

    @property
    def selected_number(self) -> int | None:
        """The number of the round under the cursor."""
        key = self.cursor_key
        return key if isinstance(key, int) else None

    @property
    def column(self) -> TableColumn | None:
        """The column under the cursor."""
        return self.columns[self.cursor_column] if self.cursor_column < len(self.columns) else None

    def present(
        self,
        columns: Sequence[TableColumn],
        rows: Sequence[int | str],
        cursor: int | str | None,
        known: bool = False,
    ) -> None:
        """Show these columns and rows; the cursor goes to the row with the key `cursor`, or stays if there is none.

        With `known`, the rows are those shown before, or some of them, in any order: the columns keep their widths.
        """
        before, columns_before = self.cursor_key, self.columns
        chosen = self.column
        self.columns, self.rows = columns, rows
        self._cells.clear()
        if columns != columns_before and chosen is not None:
            keys = [column.key for column in columns]
            at = keys.index(chosen.key) if chosen.key in keys else self.cursor_column
            self.cursor_column = max(0, min(at, len(columns) - 1))
        row = self.cursor_row if cursor is None or cursor not in rows else rows.index(cursor)
        self.cursor_row = self._nearest_row(row)
        if known and columns == columns_before:
            self._grow()
        else:
            self._measure()
        self._show_cursor()
        self._repaint_changes()
        if self.cursor_key != before:
            self.post_message(self.Highlighted())

    def on_resize(self, event: Resize) -> None:
        self._grow()
        self._show_cursor()

    def _nearest_row(self, row: int) -> int:
        """Return the row itself, or the next that is not a heading, or else the last before it."""
        row = max(0, min(row, len(self.rows) - 1))
        candidates = itertools.chain(range(row, min(row + 2, len(self.rows))), range(row - 1, -1, -1))
        return next((candidate for candidate in candidates if self.heading_of(candidate) is None), row)

    def move_cursor(self, row: int) -> None:
        """Put the cursor on a row, or on the nearest that is not a heading, and bring it into view."""
        if not self.rows:
            return
        before, self.cursor_row = self.cursor_row, self._nearest_row(row)
        if before != self.cursor_row:
            for changed in (before, self.cursor_row):
                self.refresh_line(changed + 1)
            self.post_message(self.Highlighted())
        self._show_cursor()

    def _show_cursor(self) -> None:
        """Scroll until the cursor and a heading right above it are in view."""
        page = self.size.height - 1
        if page <= 0 or not self.rows:
            return
        above = self.cursor_row > 0 and self.heading_of(self.cursor_row - 1) is not None
        top, first = self.scroll_offset.y, self.cursor_row - above
        new_top = first if first < top else max(top, self.cursor_row - page + 1)
        new_top = max(0, min(new_top, len(self.rows) - page))
        if new_top != top:
            self.scroll_to(y=new_top, animate=False, force=True)

    def action_move(self, by: int) -> None:
        row = self.cursor_row + by
        if 0 <= row < len(self.rows) and self.heading_of(row) is not None:
            row += by
        if 0 <= row < len(self.rows):
            self.move_cursor(row)

    def action_move_to(self, row: int) -> None:
        self.move_cursor(row if row >= 0 else len(self.rows) + row)

    def action_move_page(self, pages: int) -> None:
        self.move_cursor(self.cursor_row + pages * max(1, self.size.height - 2))

    def action_move_column(self, by: int) -> None:
        if not self.chooses_columns:
            self.scroll_to(x=self.scroll_offset.x + by * WIDEST // 2, animate=False, force=True)
        elif 0 <= self.cursor_column + by < len(self.columns):
            self.choose_column(self.cursor_column + by)

    def choose_column(self, index: int) -> None:
        """Put the column cursor on a column and scroll it into view."""
        self.cursor_column = index
        self.refresh(Region(0, 0, self.view_width, 1))
        start = self.gutter_width + sum(self._widths[:index]) + GAP * index
        end, x, fixed = start + self._widths[index], self.scroll_offset.x, self._fixed_width
        new_x = 0 if index == 0 else min(start - fixed, max(x, end + 1 - self.view_width))
        new_x = max(0, min(new_x, self.virtual_size.width - self.view_width))
        if new_x != x:
            self.scroll_to(x=new_x, animate=False, force=True)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        """Return a sentence on why `action` cannot be done now; "" if it can."""
        return "no round is selected" if action in NEEDS_A_ROW and self.cursor_key is None else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if self.why_not(action, parameters) else True

    def action_select(self) -> None:
        if self.cursor_key is not None:
            self.post_message(self.Selected())

    def on_click(self, event: Click) -> None:
        event.stop()
        if event.y == 0:
            if (index := self._column_at(event.x)) is not None:
                self.post_message(self.HeaderClicked(self.columns[index].key))
            return
        row = event.y - 1 + self.scroll_offset.y
        if row >= len(self.rows) or self.heading_of(row) is not None:
            return
        if row == self.cursor_row:
            self.action_select()
        else:
            self.move_cursor(row)

    def _column_at(self, x: int) -> int | None:
        """Return the column that is visible at `x` of the screen, None if there is none."""
        end = self.gutter_width
        if x >= self._fixed_width:
            x += self.scroll_offset.x
        for index, width in enumerate(self._widths):
            end += width + GAP
            if x < end:
                return index
        return None

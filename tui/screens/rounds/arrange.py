"""The keys that change what the table of rounds shows: the filter, the columns, and the way back to all rounds."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from engine.compare.filter_language import FilterError
from engine.errors import FileError, reason_of
from tui.messages import ActionFailed
from tui.screens.rounds.column_layout import ColumnLayout, read_layout, write_layout
from tui.screens.rounds.editor_line import EditorLine
from tui.screens.rounds.table import RoundTable
from tui.screens.workspace_screen import WorkspaceScreen
from tui.widgets.line_editor import LineEditor

FILTER = "filter"  # the purpose of the line that a filter is typed into
FILTER_HINT = "ppl<3.3 r=16 -tag=best status:failed or word · enter keep · esc cancel"


class TableControls:
    """Filters the `RoundTable` of `screen` by what is typed into `line`, and changes its columns."""

    def __init__(self, screen: WorkspaceScreen, line: EditorLine) -> None:
        self._screen = screen
        self._line = line
        self._filter_before = ""
        self._selected_before: int | None = None

    @property
    def _table(self) -> RoundTable:
        return self._screen.query_one(RoundTable)

    async def open_filter(self) -> None:
        """Open the line on the filter of the table."""
        view = self._table.view
        self._filter_before, self._selected_before = view.filter, self._table.selected_number
        editor = LineEditor("/", view.filter, hint=FILTER_HINT, purpose=FILTER)
        await self._line.open(editor, FILTER, stored_first=True)  # a filter applies as soon as it is in the field

    def filter_while_typing(self, editor: LineEditor) -> None:
        """Show the rounds that match what is typed by now, or why it cannot be read or matches none."""
        editor.tell(self._set_filter(editor.text) or self._table.why_none)

    def submit(self, editor: LineEditor) -> None:
        """Keep the filter and close the line, unless the filter cannot be read."""
        if not self._set_filter(editor.text):
            if editor.touched:
                editor.drop_draft()
            self._line.close()

    def cancel(self) -> None:
        """Close the line and go back to the filter before."""
        self._set_filter(self._filter_before)
        self._line.close()

    def _set_filter(self, expression: str) -> str:
        """Show what matches; return why `expression` cannot be read, or "".

        The parts before the one that cannot be read still count.
        """
        try:
            self._table.set_view(filter=expression.strip(), select=self._selected_before)
        except FilterError as error:
            with suppress(FilterError):
                self._table.set_view(filter=expression[: error.readable].strip())
            return error.message
        return ""

    def go_back(self) -> None:
        """Go back one layer: cancel the open line, or clear the filter, or the marks, or grouping and order."""
        table = self._table
        if (editor := self._line.current) is not None:
            editor.action_cancel()
        elif table.view.filter:
            table.set_view(filter="")
        elif table.marked:
            table.unmark()
        elif table.view.group or table.view.differing or table.view.sort:
            table.set_view(group="", differing=False, sort="")

    def choose_columns(self) -> None:
        """Open the list of columns."""
        from tui.screens.rounds.columns_dialog import ColumnsScreen

        table = self._table
        self._screen.app.push_screen(ColumnsScreen(table.column_layout, table.shown_keys, table.change_layout))

    def recall_layout(self) -> None:
        """Show the columns that were chosen last time. Call it in a thread, before the table has rounds."""
        self._screen.app.call_from_thread(self._table.set_layout, read_layout())

    def remember_layout(self, layout: ColumnLayout) -> None:
        """Write the chosen columns to their file, in a thread."""
        self._screen.run_worker(partial(self._write_layout, layout), thread=True, exclusive=True, group="layout")

    def _write_layout(self, layout: ColumnLayout) -> None:
        try:
            write_layout(layout)
        except OSError as error:
            refusal = FileError(f"the choice of columns could not be saved: {reason_of(error)}")
            self._screen.post_message(ActionFailed(refusal))

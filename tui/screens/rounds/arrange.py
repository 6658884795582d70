"""What the table of rounds shows, asked for at the keyboard: the filter, the columns, and back to all of it."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from engine.api import Cockpit
from engine.errors import LoratuiError, SpecError, reason_of
from tui.messages import ActionFailed
from tui.screens.rounds.annotate import AnnotatingScreen
from tui.screens.rounds.column_layout import ColumnLayout, read_layout, write_layout
from tui.screens.rounds.table import RoundTable
from tui.widgets.line_editor import LineEditor

FILTER_HINT = "ppl<3.3 r=16 lr>=1e-4 status:failed tag=best word · enter keeps it · esc leaves it"


class ArrangingScreen(AnnotatingScreen):
    """A screen with a `RoundTable`, whose view and columns it changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "slash", "filter", "Filter", id="rounds.filter",
            tooltip="Show only rounds that match, as you type: ppl<3.3 r=16 tag=best status:failed word",
        ),
        Binding(
            "v", "columns", "Columns", show=False, id="rounds.columns",
            tooltip="Choose which columns are shown, and where",
        ),
        Binding(
            "escape", "back", "Back", show=False, id="rounds.back",
            tooltip="Leave the filter; then the marks; then groups and order",
        ),
    ]  # fmt: skip

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__(cockpit)
        self._filter_before = ""
        self._selected_before: int | None = None

    @property
    def table(self) -> RoundTable:
        return self.query_one(RoundTable)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "filter" and self.editor is not None and self.focused is self.editor.field:
            return False  # its key is typed there
        return super().check_action(action, parameters)

    def focus_rounds(self) -> None:
        self.table.focus()

    def recall_layout(self) -> None:
        """Show the columns as they were left; from the thread that reads the rounds, before it has any."""
        self.app.call_from_thread(self.table.set_layout, read_layout())

    async def action_filter(self) -> None:
        table = self.table
        self._filter_before, self._selected_before = table.view.filter, table.selected_number
        await self.open_editor(LineEditor("/", table.view.filter, hint=FILTER_HINT, purpose="filter"))

    @on(LineEditor.Changed)
    def _filter(self, event: LineEditor.Changed) -> None:
        if event.editor.purpose == "filter":
            event.editor.tell(self._set_filter(event.editor.text))

    def _set_filter(self, expression: str) -> str:
        """Show what matches. Returns why that makes no sense, or ""; the terms before the last count still."""
        try:
            self.table.set_view(filter=" ".join(expression.split()), select=self._selected_before)
        except SpecError as error:
            with suppress(SpecError):
                self.table.set_view(filter=" ".join(expression.split()[:-1]))
            return error.message
        return ""

    @on(LineEditor.Submitted)
    def _keep_filter(self, event: LineEditor.Submitted) -> None:
        if event.editor.purpose == "filter" and not self._set_filter(event.editor.text):
            self.close_editor()

    @on(LineEditor.Cancelled)
    def _leave_filter(self, event: LineEditor.Cancelled) -> None:
        if event.editor.purpose == "filter":
            self._set_filter(self._filter_before)
            self.close_editor()

    def action_back(self) -> None:
        """One layer out: an open line, the filter, the marks, groups and order."""
        table = self.table
        if self.editor is not None:
            self.editor.action_cancel()
        elif table.view.filter:
            table.set_view(filter="")
        elif table.marked:
            table.unmark()
        elif table.view.group or table.view.differing or table.view.sort:
            table.set_view(group="", differing=False, sort="")

    def action_columns(self) -> None:
        from tui.screens.rounds.columns_dialog import ColumnsScreen

        table = self.table
        self.app.push_screen(ColumnsScreen(table.column_layout, table.shown_keys, table.change_layout))

    @on(RoundTable.LayoutChanged)
    def _keep_layout(self, event: RoundTable.LayoutChanged) -> None:
        self._write_layout(event.layout)

    @work(thread=True, exclusive=True, group="layout")
    def _write_layout(self, layout: ColumnLayout) -> None:
        try:
            write_layout(layout)
        except OSError as error:
            refused = LoratuiError(f"the columns are not remembered: {reason_of(error)}")
            self.post_message(ActionFailed(refused))

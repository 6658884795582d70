"""The base of the dialogs with one list of options."""

from __future__ import annotations

from textual.screen import ModalScreen, ScreenResultType
from textual.widgets import OptionList

from tui.widgets.current_size import CurrentSize


class OptionDialog(ModalScreen[ScreenResultType], CurrentSize):
    """A dialog whose bindings `move` the cursor of its `OptionList`, and `cancel` it."""

    def action_cancel(self) -> None:
        self.dismiss(None)

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if by > 0 else options.action_cursor_up()

"""The place at the bottom of a screen where one line at a time is edited."""

from __future__ import annotations

from collections.abc import Callable

from tui.screens.workspace_screen import WorkspaceScreen
from tui.widgets.key_footer import KeyFooter
from tui.widgets.line_editor import LineEditor

OFFERED = 5  # drafts of one field, of which a key shows one after the other


class EditorLine:
    """Opens and closes a `LineEditor` above the footer of `screen`; `give_focus_back` is called after closing."""

    def __init__(self, screen: WorkspaceScreen, give_focus_back: Callable[[], object]) -> None:
        self._screen = screen
        self._give_focus_back = give_focus_back

    @property
    def current(self) -> LineEditor | None:
        """The line that is being edited."""
        return next(iter(self._screen.query(LineEditor)), None)

    @property
    def unsaved(self) -> bool:
        """True if the line edits a round and was changed."""
        editor = self.current
        return editor is not None and editor.number is not None and editor.touched

    @property
    def has_focus(self) -> bool:
        """True if keys are typed into the line."""
        editor, focused = self.current, self._screen.focused
        # The line may be there before its field, or after it, while the footer asks.
        return editor is not None and focused is not None and editor in focused.ancestors

    async def open(self, editor: LineEditor, field: str = "", *, stored_first: bool = False) -> None:
        """Show `editor` in place of the open one; one with unsaved text stays and gets the focus instead.

        With `field` what is typed is kept as a draft of that name, and drafts of it are offered.

        The field has the focus when this returns, so that the next key is typed and is not a command of the table.
        """
        if (current := self.current) is not None:
            if self.unsaved:
                self._screen.set_focus(current.field)
                return
            await current.remove()
        if field:
            editor.offer(await self._screen.begin_draft(field, OFFERED), stored_first=stored_first)
        await self._screen.mount(editor, before=self._screen.query_one(KeyFooter))
        self._screen.set_focus(editor.field)

    def close(self) -> None:
        """Remove the line and give the focus back."""
        if (editor := self.current) is not None:
            editor.remove()
        self._give_focus_back()

"""The field in which a message is typed; it shows a line break as ␊."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Paste
from textual.widgets import Input

from tui.widgets.sanitized_input import shown


class ChatInput(Input):
    """An input that keeps the line breaks of pasted text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j", "break_line", "Line break", show=False, tooltip="Insert a line break", id="message.break"),
    ]
    DEFAULT_CSS = """
    ChatInput { height: 1; border: none; padding: 0 1; background: $surface; }
    ChatInput:focus { background: $primary 40%; }
    """

    @property
    def text(self) -> str:
        """The typed text, with its line breaks and tabs."""
        return self.value.replace("␊", "\n").replace("␉", "\t")

    def put(self, text: str) -> None:
        """Put `text` into the field, with the cursor at its end."""
        self.value = shown(text)
        self.cursor_position = len(self.value)

    def action_break_line(self) -> None:
        self.insert_text_at_cursor("␊")

    def on_paste(self, event: Paste) -> None:
        """Insert all lines, where Textual would insert only the first."""
        event.prevent_default()
        event.stop()
        text = shown("\n".join(event.text.splitlines()))
        selection = self.selection
        if selection.is_empty:
            self.insert_text_at_cursor(text)
        else:
            self.replace(text, *selection)

"""The line in which a message is typed; a line break in it is shown as ␊."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Paste
from textual.widgets import Input

from tui.widgets.sanitized_input import shown


class TalkInput(Input):
    """An input that keeps the line breaks of what is pasted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+j", "break_line", "Line break", show=False, tooltip="A line break in the message", id="message.break"
        ),
    ]
    DEFAULT_CSS = """
    TalkInput { height: 1; border: none; padding: 0 1; background: $surface; }
    TalkInput:focus { background: $primary 40%; }
    """

    @property
    def text(self) -> str:
        """What is typed, with its line breaks and tabs."""
        return self.value.replace("␊", "\n").replace("␉", "\t")

    def put(self, text: str) -> None:
        """Have `text` in the line, the cursor behind it."""
        self.value = shown(text)
        self.cursor_position = len(self.value)

    def action_break_line(self) -> None:
        self.insert_text_at_cursor("␊")

    def on_paste(self, event: Paste) -> None:
        """All of it, not the first line alone."""
        event.prevent_default()
        event.stop()
        text = shown("\n".join(event.text.splitlines()))
        selection = self.selection
        if selection.is_empty:
            self.insert_text_at_cursor(text)
        else:
            self.replace(text, *selection)

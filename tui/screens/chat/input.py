"""The field in which a message is typed; it shows a line break as ␊."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from tui.widgets.sanitized_input import SanitizedInput


class ChatInput(SanitizedInput):
    """An input of several lines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j", "break_line", "Line break", show=False, tooltip="Insert a line break", id="message.break"),
    ]
    DEFAULT_CSS = """
    ChatInput { height: 1; border: none; padding: 0 1; background: $surface; }
    ChatInput:focus { background: $primary 40%; }
    """

    def __init__(self, stored: str, *, id: str, placeholder: str = "") -> None:
        super().__init__(stored, placeholder=placeholder, compact=True, id=id, multiline=True)

    def action_break_line(self) -> None:
        self.insert_text_at_cursor("␊")

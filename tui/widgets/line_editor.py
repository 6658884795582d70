"""One line to type into, at the bottom of a screen."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Static

from tui.terminal.console import clean_line
from tui.widgets.sanitized_input import SanitizedInput, shown


class LineEditor(Vertical):
    """A label, a field that starts with the stored text, and below them a hint or why the text is wrong.

    `purpose` tells the screen what the line is for.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", tooltip="Leave the line as it was", id="line.cancel"),
    ]
    DEFAULT_CSS = """
    LineEditor {
        height: auto; padding: 0 1; background: $surface;
        & Horizontal { height: 1; }
        & .line-label { width: auto; max-width: 50%; color: $text-accent; text-style: bold; padding-right: 1; }
        & Input { width: 1fr; background: $surface; padding: 0; }
        & .line-hint { height: 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
        & .line-hint.-wrong { height: auto; max-height: 3; color: $text-error; text-style: bold; text-wrap: wrap; }
    }
    """

    class Told(Message):
        """The person did something with the line."""

        def __init__(self, editor: LineEditor) -> None:
            super().__init__()
            self.editor = editor

    class Changed(Told):
        """The text changed."""

    class Submitted(Told):
        """The person confirmed the line."""

    class Cancelled(Told):
        """The person wants to keep the stored text."""

    def __init__(self, label: str, stored: str, *, hint: str, purpose: str, number: int | None = None) -> None:
        super().__init__()
        self.purpose = purpose
        self.number = number
        self._label = label
        self._stored = stored
        self._hint = hint

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(clean_line(self._label), classes="line-label", markup=False)
            field = SanitizedInput(self._stored, placeholder="", compact=True)
            field.select_on_focus = False  # new text goes after the stored text
            field.cursor_position = len(field.value)
            yield field
        yield Static(self._hint, classes="line-hint", markup=False)

    @property
    def field(self) -> SanitizedInput:
        """The field to type into."""
        return self.query_one(SanitizedInput)

    @property
    def text(self) -> str:
        """The text in the field, with line breaks again where it shows ␊."""
        field = self.field
        return field.text if field.text == self._stored else field.value.replace("␊", "\n").replace("␉", "\t")

    @property
    def touched(self) -> bool:
        """True if the text differs from the stored one."""
        return self.field.value != shown(self._stored)

    def tell(self, wrong: str) -> None:
        """Say why the text is wrong, or with "" show the hint again; the text stays."""
        hint = self.query_one(".line-hint", Static)
        hint.update(Text(clean_line(wrong) or self._hint))
        hint.set_class(bool(wrong), "-wrong")

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_attached:
            self.post_message(self.Changed(self))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted(self))

    def action_cancel(self) -> None:
        self.post_message(self.Cancelled(self))

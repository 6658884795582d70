"""The line in which one types a part of the name of a field, or of what it does."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from tui.widgets.live_text import LiveText
from tui.widgets.sanitized_input import SanitizedInput


class FindLine(Horizontal):
    """A field for the text, and beside it how many fields match; hidden until it is wanted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down,tab", "go", "Go to it", show=False, tooltip="Go to the first field found", id="find.go",
                priority=True),
    ]  # fmt: skip
    DEFAULT_CSS = """
    FindLine { height: 1; padding: 0 1; display: none; }
    FindLine Input { width: 1fr; padding: 0 1; background: $primary 40%; }
    FindLine LiveText { width: auto; padding: 0 1; color: $text-muted; }
    """

    class Typed(Message):
        """The text changed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Chosen(Message):
        """The person wants to go to the first field found."""

    def compose(self) -> ComposeResult:
        yield SanitizedInput("", placeholder="find a field: part of its name, or what it does", compact=True, id="find")
        yield LiveText(id="find-count")

    @property
    def field(self) -> SanitizedInput:
        return self.query_one(SanitizedInput)

    def show_count(self, count: int | None) -> None:
        """Say how many fields match; None says nothing."""
        words = {None: "esc back", 0: "no field has this · esc back", 1: "1 field · enter goes there"}
        self.query_one(LiveText).tell(Content(words.get(count, f"{count} fields · enter goes to the first")))

    @on(Input.Changed)
    def _type(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Typed(self.field.text))

    def action_go(self) -> None:
        self.post_message(self.Chosen())

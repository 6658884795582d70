"""One of a few words, changed with the arrow keys, on a single line."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.terminal.console import clean_line

LEFT, RIGHT = "‹ ", " ›"


class Choice(Widget, can_focus=True):
    """Show `‹ word ›`; left, right and space go through `choices`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l,space", "turn(1)", "Next value", show=False, tooltip="To the next value", id="choice.next"),
        Binding(
            "left,h", "turn(-1)", "Previous value", show=False, tooltip="To the value before", id="choice.previous"
        ),
    ]
    DEFAULT_CSS = """
    Choice { height: 1; background: $surface; padding: 0 1; }
    Choice:focus { background: $primary; color: $text; }
    """
    value: reactive[str] = reactive("", init=False)

    class Changed(Message):
        """The person chose another word."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(self, choices: tuple[str, ...], value: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.choices = choices
        self.set_reactive(Choice.value, value)

    def render(self) -> Content:
        room = max(1, self.content_size.width - len(LEFT + RIGHT))
        word = Content(clean_line(self.value)).truncate(room, ellipsis=True)
        return Content.assemble((LEFT, "dim"), word, (RIGHT, "dim"))

    def action_turn(self, by: int) -> None:
        index = self.choices.index(self.value) if self.value in self.choices else 0
        self.value = self.choices[(index + by) % len(self.choices)]

    def on_click(self) -> None:
        self.action_turn(1)

    def watch_value(self) -> None:
        self.post_message(self.Changed(self))

"""A question before something that cannot be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tui.terminal.console import clean
from tui.widgets.current_size import CurrentSize


def confirm(app: App[Any], question: str, yes: str, action: Callable[[], object]) -> None:
    """Do the action if the person answers `question` with `yes`."""

    def answered(answer: bool | None) -> None:
        if answer:
            action()

    app.push_screen(ConfirmScreen(question, yes), answered)


class ConfirmScreen(ModalScreen[bool], CurrentSize):
    """Dismissed with True if the person says yes. The button for "no" has the focus."""

    MIN_SIZE = Size(1, 1)  # it also asks before leaving a terminal that is too small for anything else
    # Textual writes `ClassVar[...] | None`, which mypy takes for an attribute of instances.
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-tiny"), (60, "-wide")]  # type: ignore[misc]
    VERTICAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-tiny"), (16, "-high")]  # type: ignore[misc]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False, tooltip="Do it", id="confirm.yes"),
        Binding("n,escape", "answer(False)", "No", show=False, tooltip="Do not do it", id="confirm.no"),
        Binding(
            "left,right,up,down",
            "app.focus_next",
            "Other button",
            show=False,
            tooltip="To the other button",
            id="confirm.other",
        ),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__()
        self._question = question
        self._yes = yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            with VerticalScroll(id="question", can_focus=False):
                yield Static(clean(self._question), markup=False)
            with Horizontal(classes="buttons"):
                yield Button(Text("No (n)"), id="no")
                yield Button(Text(f"{self._yes} (y)"), id="yes", variant="warning")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

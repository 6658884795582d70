"""A dialog that asks for a line of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from engine.errors import LoratuiError
from tui.terminal.console import clean, clean_line


class AskScreen(ModalScreen[str | None]):
    """Dismissed with the text, or None. `check` raises LoratuiError for a wrong text; the dialog shows the error."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Back", tooltip="Close without an answer", id="ask.cancel")
    ]
    DEFAULT_CSS = """
    AskScreen Input { margin-top: 1; }
    AskScreen #ask-error { height: auto; color: $text-error; text-style: bold; }
    """

    def __init__(self, question: str, text: str, check: Callable[[str], None]) -> None:
        super().__init__()
        self._question = question
        self._text = text
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(clean(self._question)), classes="dialog-title", markup=False)
            yield Input(clean_line(self._text), compact=True)
            yield Static(id="ask-error", markup=False)
            yield Static("enter save · esc cancel", classes="hint", markup=False)

    @on(Input.Submitted)
    def _answer(self, event: Input.Submitted) -> None:
        try:
            self._check(event.value.strip())
        except LoratuiError as error:
            self.query_one("#ask-error", Static).update(Content(f"✗ {clean_line(error.message)}"))
            return
        self.dismiss(event.value.strip())

    def action_cancel(self) -> None:
        self.dismiss(None)

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
from engine.files.drafts import Drafting
from tui.terminal.console import clean, clean_line
from tui.widgets.current_size import CurrentSize
from tui.widgets.sanitized_input import SanitizedInput


class AskScreen(ModalScreen[str | None], CurrentSize):
    """Dismissed with the text, or None. `check` raises LoratuiError for a wrong text; the dialog shows the error.

    What is typed is kept in `drafting`, and the draft that it continues is in the field in place of `text`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Back", tooltip="Close without an answer", id="ask.cancel"),
        Binding(
            "ctrl+r", "reset", "Suggestion", show=False, tooltip="Show the suggestion in place of the draft",
            id="ask.reset",
        ),
    ]  # fmt: skip
    DEFAULT_CSS = """
    AskScreen Input { margin-top: 1; }
    AskScreen #ask-error { height: auto; color: $text-error; text-style: bold; }
    """

    def __init__(self, question: str, text: str, check: Callable[[str], None], drafting: Drafting) -> None:
        super().__init__()
        self._drafting = drafting
        self._question = question
        self._text = text
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(clean(self._question)), classes="dialog-title", markup=False)
            drafts = self._drafting.continued
            text = next((text for draft in drafts for text in draft.texts.values()), self._text)
            yield SanitizedInput(clean_line(text), placeholder="", compact=True)
            yield Static(id="ask-error", markup=False)
            draft = f"your draft of {drafts[0].clock} · ctrl+r suggestion · " if drafts else ""
            yield Static(f"{draft}enter save · esc cancel", classes="hint", markup=False)

    @on(Input.Changed)
    def _keep(self, event: Input.Changed) -> None:
        self._drafting.keep({"text": event.value} if event.value != clean_line(self._text) else {})

    @on(Input.Submitted)
    def _answer(self, event: Input.Submitted) -> None:
        try:
            self._check(event.value.strip())
        except LoratuiError as error:
            self.query_one("#ask-error", Static).update(Content(f"✗ {clean_line(error.message)}"))
            return
        self._drafting.drop()
        self.dismiss(event.value.strip())

    def action_reset(self) -> None:
        self.query_one(SanitizedInput).put(clean_line(self._text))

    def action_cancel(self) -> None:
        self.dismiss(None)

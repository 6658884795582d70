"""A prompt and two answers to it, side by side if there is room, without a sign of whose they are."""

from __future__ import annotations

from typing import ClassVar

from rich.console import RenderableType
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from tui.terminal.console import clean
from tui.views.samples import question
from tui.widgets.key_scroll import KeyScroll

BESIDE_COLUMNS = 100
EMPTY = "(empty)"


class AnswerPair(KeyScroll, VerticalScroll, can_focus=True, inherit_bindings=False):
    """Scrolls the prompt and both answers together, so that as much is visible of one answer as of the other."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_down", "Down", show=False, tooltip="Scroll down a line", id="answers.down"),
        Binding("k,up", "scroll_up", "Up", show=False, tooltip="Scroll up a line", id="answers.up"),
        Binding(
            "pagedown,ctrl+f",
            "page_down",
            "Page down",
            show=False,
            tooltip="Scroll down a page",
            id="answers.page_down",
        ),
        Binding("pageup,ctrl+b", "page_up", "Page up", show=False, tooltip="Scroll up a page", id="answers.page_up"),
        Binding("g,home", "scroll_home", "Top", show=False, tooltip="Scroll to the prompt", id="answers.top"),
        Binding(
            "G,end", "scroll_end", "Bottom", show=False, tooltip="Scroll to the end of the answers", id="answers.bottom"
        ),
    ]
    DEFAULT_CSS = """
    AnswerPair { padding: 0 1; background: $background; }
    AnswerPair Static { height: auto; }
    AnswerPair #prompt { text-style: bold; padding: 0 1 1 1; }
    AnswerPair #reference { color: $text-muted; padding: 0 1 1 1; }
    AnswerPair #both { height: auto; }
    AnswerPair .answer { border: round $primary; padding: 0 1; width: 1fr; }
    AnswerPair.-beside #both { layout: horizontal; }
    AnswerPair #message { padding: 1; }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="prompt", markup=False)
        yield Static(id="reference", markup=False)
        with Container(id="both"):
            yield Static(id="left", classes="answer", markup=False)
            yield Static(id="right", classes="answer", markup=False)
        yield Static(id="message", markup=False)

    def on_resize(self, event: Resize) -> None:
        beside = self.app.size.width >= BESIDE_COLUMNS
        self.set_class(beside, "-beside")
        left_pane, right_pane = self.query_one("#left"), self.query_one("#right")
        if beside:
            left_pane.border_title = "← left"
            right_pane.border_title = "right →"
        else:
            left_pane.border_title = "← upper"
            right_pane.border_title = "lower →"

    def ask(self, prompt: str, left_answer: str, right_answer: str, reference: str | None) -> None:
        """Show two answers to a prompt, and the reference answer unless it is None."""
        self._show(None)
        self.query_one("#prompt", Static).update(clean(question(prompt).strip()) or EMPTY)
        self.query_one("#left", Static).update(clean(left_answer) or EMPTY)
        self.query_one("#right", Static).update(clean(right_answer) or EMPTY)
        expected = self.query_one("#reference", Static)
        expected.display = reference is not None
        expected.update(Content(f"expected: {clean(reference or '') or EMPTY}"))

    def show_message(self, text: RenderableType | Content) -> None:
        """Show a text instead of prompt and answers."""
        self._show(text)

    def _show(self, text: RenderableType | Content | None) -> None:
        message = self.query_one("#message", Static)
        message.display = text is not None
        message.update("" if text is None else text)
        for name in ("#prompt", "#reference", "#both"):
            self.query_one(name).display = text is None
        self.scroll_home(animate=False)

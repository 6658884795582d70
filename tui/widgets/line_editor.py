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

from engine.files.drafts import Drafting
from tui.terminal.console import clean_line
from tui.widgets.message_line import shortened
from tui.widgets.sanitized_input import SanitizedInput, shown

HINT_LINES = 3
UNUSED = 10  # cells of a line for padding and where a word did not fit


class LineEditor(Vertical):
    """A label, a field that starts with the stored text, and below them a hint or why the text is wrong.

    Drafts, texts typed before and not saved, can be offered: a key puts one after the other, and the stored text, into
    the field. `purpose` tells the screen what the line is for.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", tooltip="Leave the line; your text is offered again", id="line.cancel"),
        Binding(
            "ctrl+r", "swap", "Stored or draft", show=False, id="line.swap",
            tooltip="Show the stored text in place of your draft, or the draft again",
        ),
    ]  # fmt: skip
    DEFAULT_CSS = """
    LineEditor {
        height: auto; padding: 0 1; background: $surface;
        & Horizontal { height: 1; }
        & .line-label { width: auto; max-width: 50%; color: $text-accent; text-style: bold; padding-right: 1; }
        & Input { width: 1fr; background: $surface; padding: 0; }
        & .line-hint { height: auto; max-height: 3; color: $text-muted; }
        & .line-hint.-wrong { color: $text-error; text-style: bold; }
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

    def __init__(
        self,
        label: str,
        stored: str,
        *,
        hint: str,
        purpose: str,
        number: int | None = None,
        multiline: bool = False,
    ) -> None:
        super().__init__()
        self.purpose = purpose
        self.number = number
        self._label = label
        self._stored = stored
        self._hint = hint
        self._multiline = multiline
        self._first = stored
        self._others: list[str] = []  # texts that the key puts into the field, in turn
        self._drafting: Drafting | None = None
        self._typed = ""
        self._shown_hint = ""

    def offer(self, drafting: Drafting, *, stored_first: bool) -> None:
        """Keep what is typed in `drafting`, and offer the drafts that it continues; called before the line is shown.

        The newest is in the field at once, unless `stored_first`.
        """
        self._drafting = drafting
        drafts = [text for draft in drafting.continued for text in draft.texts.values()]
        self._typed = drafting.continued[0].clock if drafts else ""
        texts = [self._stored, *drafts] if stored_first else [*drafts, self._stored]
        self._first, *self._others = dict.fromkeys(texts)

    def drop_draft(self) -> None:
        """Forget what was typed: it is saved, or the person wants the stored text."""
        if self._drafting is not None:
            self._drafting.drop()

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(clean_line(self._label), classes="line-label", markup=False)
            field = SanitizedInput(self._first, placeholder="", compact=True, multiline=self._multiline)
            field.select_on_focus = False  # new text goes after the stored text
            field.cursor_position = len(field.value)
            yield field
        self._shown_hint = self._hint_for(self._first)
        yield Static(self._shown_hint, classes="line-hint", markup=False)

    @property
    def field(self) -> SanitizedInput:
        """The field to type into."""
        return self.query_one(SanitizedInput)

    @property
    def text(self) -> str:
        """The text in the field."""
        return self.field.text

    @property
    def touched(self) -> bool:
        """True if the text differs from the stored one."""
        return any(field.value != shown(self._stored) for field in self.query(SanitizedInput))

    def tell(self, wrong: str) -> None:
        """Say why the text is wrong, or with "" show the hint again; the text stays."""
        room = HINT_LINES * (self.app.size.width - UNUSED)
        text = shortened(clean_line(wrong), room) or self._hint_for(self.text)
        if text != self._shown_hint:  # each update is a layout of the screen
            self._shown_hint = text
            hint = self.query_one(".line-hint", Static)
            hint.update(Text(text))
            hint.set_class(bool(wrong), "-wrong")

    def _hint_for(self, text: str) -> str:
        """Return the hint while the field shows `text`, after what there is to know of a draft."""
        clock = f" of {self._typed}" if self._typed else ""
        if text == self._stored:
            return f"ctrl+r your draft{clock} · {self._hint}" if self._others else self._hint
        return f"your draft{clock} · ctrl+r stored text · {self._hint}" if clock and text == self._first else self._hint

    def _keep(self) -> None:
        """Keep every text that is not the stored one."""
        texts = [text for text in dict.fromkeys([self.text, *self._others]) if text != self._stored]
        if self._drafting is not None:
            self._drafting.keep({str(place): text for place, text in enumerate(texts)})

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_attached:
            self._keep()
            self.tell("")
            self.post_message(self.Changed(self))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted(self))

    def action_swap(self) -> None:
        """Put the next of the texts into the field; the one that it shows comes last then."""
        text = self.text
        if others := [each for each in dict.fromkeys([*self._others, self._stored]) if each != text]:
            self._others = [*others[1:], text]
            self.field.put(others[0])
            self.tell("")

    def action_cancel(self) -> None:
        self.post_message(self.Cancelled(self))

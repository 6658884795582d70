"""A field that begins with stored text."""

from __future__ import annotations

from textual.events import Paste
from textual.geometry import Size
from textual.reactive import reactive
from textual.widgets import Input

from engine.spec.overrides import is_set_line
from tui.terminal.console import clean


class SanitizedInput(Input):
    """Shows what hides or steers a terminal in the stored text as symbols, and keeps that text until it is edited."""

    virtual_size = reactive(Size(0, 0))  # for Textual's own the screen is laid out anew at every letter

    def __init__(self, stored: str, *, placeholder: str, compact: bool, id: str | None = None) -> None:
        super().__init__(shown(stored), placeholder=placeholder, compact=compact, id=id)
        self._stored = stored

    @property
    def text(self) -> str:
        """The stored text letter for letter as long as it is what is shown, else what was typed."""
        return self._stored if self.value == shown(self._stored) else self.value

    def on_paste(self, event: Paste) -> None:
        """A line of settings is no value: it goes on to whoever fills in the fields that it names."""
        if is_set_line(event.text):
            event.prevent_default()


def shown(stored: str) -> str:
    """`stored` as it stands in the field, on one line."""
    return clean(stored.replace("\n", "␊").replace("\t", "␉"))

"""A field that starts with stored text."""

from __future__ import annotations

from textual.events import Paste
from textual.geometry import Size
from textual.reactive import reactive
from textual.widgets import Input

from engine.spec.overrides import is_set_line
from tui.terminal.console import clean


class SanitizedInput(Input):
    """Show control and hidden characters of the stored text as symbols, and keep that text until it is edited."""

    virtual_size = reactive(Size(0, 0))  # Textual's own attribute causes a layout of the screen at every letter

    def __init__(self, stored: str, *, placeholder: str, compact: bool, id: str | None = None) -> None:
        super().__init__(shown(stored), placeholder=placeholder, compact=compact, id=id)
        self._stored = stored

    @property
    def text(self) -> str:
        """The exact stored text until the field is edited, then the typed one."""
        return self._stored if self.value == shown(self._stored) else self.value

    def on_paste(self, event: Paste) -> None:
        """Leave a line of settings to the form, which fills in the fields that it names."""
        if is_set_line(event.text):
            event.prevent_default()


def shown(stored: str) -> str:
    """Return `stored` as the field shows it, on one line."""
    return clean(stored.replace("\n", "␊").replace("\t", "␉"))

"""A field that starts with stored text, and takes pasted text whole or not at all."""

from __future__ import annotations

from textual.events import Paste
from textual.geometry import Size
from textual.reactive import reactive
from textual.widgets import Input

from tui.terminal.console import clean
from tui.widgets.pasted_text import PasteRefused, read_paste


class SanitizedInput(Input):
    """Show control and hidden characters of the stored text as symbols, and keep that text until it is edited.

    With `multiline` a line break is shown as ␊ and is one again in `text`; otherwise pasted lines are joined.
    """

    virtual_size = reactive(Size(0, 0))  # Textual's own attribute causes a layout of the screen at every letter

    def __init__(
        self, stored: str, *, placeholder: str, compact: bool, id: str | None = None, multiline: bool = False
    ) -> None:
        super().__init__(shown(stored), placeholder=placeholder, compact=compact, id=id)
        self._stored = stored
        self._multiline = multiline

    @property
    def text(self) -> str:
        """The exact stored text until the field is edited, then the typed one."""
        if self.value == shown(self._stored):
            return self._stored
        return self.value.replace("␊", "\n").replace("␉", "\t") if self._multiline else self.value

    def put(self, text: str) -> None:
        """Put `text` in place of what the field shows, with the cursor at its end."""
        self._stored = text
        self.value = shown(text)
        self.cursor_position = len(self.value)

    def on_paste(self, event: Paste) -> None:
        """Insert all that was pasted, where Textual would insert only the first line; or say why not."""
        event.prevent_default()
        event.stop()
        self._insert(event.text)

    def action_paste(self) -> None:
        """Insert what was copied in the app, as if it were pasted."""
        self._insert(self.app.clipboard)

    def _insert(self, pasted: str) -> None:
        try:
            text, remark = read_paste(pasted, multiline=self._multiline)
        except PasteRefused as refusal:
            self.notify(str(refusal), severity="warning", markup=False)
            return
        start, end = sorted(self.selection)
        self.replace(text.replace("\n", "␊").replace("\t", "␉"), start, end)
        if remark:
            self.notify(remark, markup=False)


def shown(stored: str) -> str:
    """Return `stored` as the field shows it, on one line."""
    return clean(stored.replace("\n", "␊").replace("\t", "␉"))

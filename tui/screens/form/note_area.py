"""The note on a new round, of several lines."""

from __future__ import annotations

from textual.events import Paste
from textual.widgets import TextArea

from tui.widgets.pasted_text import PasteRefused, check_paste


class NoteArea(TextArea):
    """A text area that takes a pasted text whole, or says why not."""

    def on_paste(self, event: Paste) -> None:
        """Let Textual insert the text, a line of settings too."""
        event.stop()
        try:
            check_paste(event.text)
        except PasteRefused as refusal:
            event.prevent_default()
            self.notify(str(refusal), severity="warning", markup=False)

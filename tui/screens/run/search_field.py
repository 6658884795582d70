"""The field to search the log; what was searched for last can be put back into it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from engine.files.drafts import Drafting
from tui.terminal.console import clean_line
from tui.widgets.sanitized_input import SanitizedInput

HINT = "enter goes to the match, esc ends the search"


class SearchField(SanitizedInput):
    """A field whose text is kept as a draft when the search is ended."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+r", "recall", "Last search", show=False, id="log.recall",
            tooltip="Search again for the text that was left with escape",
        ),
    ]  # fmt: skip

    def __init__(self, *, id: str) -> None:
        super().__init__("", placeholder=f"search the log: {HINT}", compact=True, id=id)
        self._drafting: Drafting | None = None

    def begin(self, drafting: Drafting) -> None:
        """Keep what is typed in `drafting`, and offer the draft that it continues."""
        self._drafting = drafting
        if draft := self._draft:
            self.placeholder = f"ctrl+r: {clean_line(draft)} · {HINT}"

    @property
    def _draft(self) -> str:
        drafts = self._drafting.continued if self._drafting is not None else ()
        return next((text for draft in drafts for text in draft.texts.values()), "")

    def keep(self) -> None:
        """Keep the text; an emptied field leaves the draft as it is."""
        if self._drafting is not None and self.value:
            self._drafting.keep({"text": self.text})

    def drop_draft(self) -> None:
        """Forget the draft once the search is used."""
        if self._drafting is not None and self.value:
            self._drafting.drop()

    def action_recall(self) -> None:
        if draft := self._draft:
            self.put(draft)

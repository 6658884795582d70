"""The form with the line that finds a field in it."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

from engine.spec.fields import spec_fields
from engine.spec.schema import Spec
from tui.screens.form.fields.find_line import FindLine
from tui.screens.form.fields.search import matching_fields
from tui.screens.form.spec_form import SpecForm


class SearchableForm(Vertical):
    """A `SpecForm` of `spec`, and above it a `FindLine` that shows only the fields that match while it is open."""

    DEFAULT_CSS = """
    SearchableForm { height: 1fr; }
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self._spec = spec
        self._best = ""
        self._came_from: Widget | None = None

    def compose(self) -> ComposeResult:
        yield FindLine()
        yield SpecForm(self._spec, id="form")

    @property
    def is_searching(self) -> bool:
        return self.query_one(FindLine).display

    def find(self) -> None:
        """Open the line, or go to it."""
        line = self.query_one(FindLine)
        if not self.is_searching:
            self._came_from = self.screen.focused
            line.field.clear()
            line.show_count(None)
            line.display = True
        line.field.focus()

    @on(FindLine.Typed)
    async def _show_matches(self, event: FindLine.Typed) -> None:
        event.stop()
        if not self.is_searching:
            return
        matches = [field.key for field in matching_fields(event.text, spec_fields().values())]
        self._best = matches[0] if matches else ""
        self.query_one(FindLine).show_count(len(matches) if event.text.strip() else None)
        form = self.query_one(SpecForm)
        await form.show_only(matches if event.text.strip() else None)
        if self._best:
            self.post_message(SpecForm.Explained(form.entries[self._best].explanation))

    @on(FindLine.Chosen)
    def _go_to_best(self, event: FindLine.Chosen) -> None:
        event.stop()
        if self._best:
            self.query_one(SpecForm).focus_field(self._best)

    async def end_search(self) -> None:
        """Show the form as it was, and the field in it that has the focus, or had it before; does nothing twice."""
        if not self.is_searching:
            return
        form, focused = self.query_one(SpecForm), self.screen.focused
        self.query_one(FindLine).display = False
        await form.show_only(None)
        if focused is not None and form in focused.ancestors:
            form.keep_in_sight(focused)
        elif self._came_from is not None:
            self._came_from.focus()

"""The fields of one part of the spec, in sight or folded."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from textual.widget import Widget
from textual.widgets import Label

from engine.spec.fields import spec_fields
from tui.screens.form.fields.fold_line import FoldLine
from tui.screens.form.fields.row import FieldRow


def controls_of(widgets: Iterable[Widget]) -> list[Widget]:
    """Return what one can go to among the lines of the form, in their order."""
    shown = [widget for widget in widgets if widget.display and isinstance(widget, (FieldRow, FoldLine))]
    return [widget.control if isinstance(widget, FieldRow) else widget for widget in shown]


class FormSection:
    """The fields of one part of the spec: those always `in_sight`, a line, and below it the `folded` ones."""

    def __init__(self, title: str, keys: list[str], in_sight: Collection[str]) -> None:
        self.keys = keys
        self.in_sight = [key for key in keys if key in in_sight]
        self.heading = Label(title, classes="section", markup=False)
        self.line = FoldLine(self._names())

    @property
    def folded(self) -> list[str]:
        return [key for key in self.keys if key not in self.in_sight]

    def bring_up(self, key: str) -> None:
        """Keep `key` in sight from now on."""
        self.in_sight = [each for each in self.keys if each in self.in_sight or each == key]
        self.line.names = self._names()

    def _names(self) -> tuple[str, ...]:
        return tuple(spec_fields()[key].name for key in self.folded)

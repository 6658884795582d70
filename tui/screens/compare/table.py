"""Rounds side by side: a column for each, a row for every field that is not the same in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual.binding import Binding, BindingType
from textual.content import Content

from engine.compare.comparability import INCOMPARABLE
from engine.compare.diff import VERDICT, ComparedField, compared_fields
from engine.compare.lineage import field_name
from engine.compare.verdict import Verdict
from engine.spec.fields import spec_fields
from engine.spec.round import Round
from tui.terminal.console import clean_line
from tui.widgets.table.cells import GAP, Cell, TableColumn, fit
from tui.widgets.table.cursor_table import VirtualTable

WIDEST_FIELD = 28
NARROWEST_VALUE, WIDEST_VALUE = 10, 24  # cells of a text, not of a number
DIFFERS = "≠"


class CompareTable(VirtualTable):
    """The fields of some rounds; with `everything` also those that are the same in all, and the others are marked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "equals_sign",
            "screen.everything",
            "All fields",
            tooltip="Show all fields, or only those that differ",
            id="compare.all",
        ),
        Binding("m", "screen.metric(1)", "Metric", tooltip="Draw the next metric of the curves", id="compare.metric"),
        Binding(
            "M", "screen.metric(-1)", "Before", show=False, tooltip="Draw the metric before it", id="compare.before"
        ),
        Binding("f", "screen.full", "Full screen", tooltip="Show only the curves", id="compare.full"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._fields: Sequence[ComparedField] = ()
        self._shown: Sequence[ComparedField] = ()
        self._rounds: Sequence[Round] = ()
        self._verdicts: Sequence[Verdict] = ()
        self._room = 0
        self.everything = False

    @property
    def differing(self) -> int:
        """The number of fields that are not the same in all rounds."""
        return sum(field.differs for field in self._fields)

    @property
    def same(self) -> int:
        return len(self._fields) - self.differing

    def show(self, rounds: Sequence[Round], marks: Sequence[str], room: int, verdicts: Sequence[Verdict] = ()) -> None:
        """Show `rounds` below their numbers and the marks of their curves, in `room` cells if they fit.

        Args:
            verdicts: for each round, whether it really differs from the first, if that is known.
        """
        self._rounds, self._room, self._verdicts = rounds, room, verdicts
        self._fields = compared_fields(rounds, verdicts)
        self._shown = [field for field in self._fields if field.differs or self.everything]
        field = TableColumn("field", "field", widest=WIDEST_FIELD)
        columns = [
            TableColumn(str(round_.number), f"{mark} {round_.number}".strip(), right=True)
            for round_, mark in zip(rounds, marks, strict=True)
        ]
        self.present([field, *columns], [field.key for field in self._shown], self.cursor_key)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return False for `select`: a field has nothing to open."""
        return not self.why_not(action, parameters)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        return "a field of the comparison cannot be opened" if action == "select" else ""

    def cells_of(self, row: int) -> list[Cell]:
        field = self._shown[row]
        name = field_name(field.key) if field.key in spec_fields() else field.title
        return [Cell(name), *(self._cell(field, place) for place in range(len(field.texts)))]

    def _cell(self, field: ComparedField, place: int) -> Cell:
        text = clean_line(field.texts[place]) or "–"
        if not field.numeric and cell_len(text) > self._widest_value:
            cut = cut_start if field.key.endswith(".path") else fit
            text = cut(text, self._widest_value)
        text = f"{INCOMPARABLE * (place in field.incomparable)}{text}"
        return Cell(f"★{text}", "bold $text-success") if place in field.best else Cell(text)

    @property
    def _widest_value(self) -> int:
        """The cells for a value of each round, within limits."""
        share = (self._room - WIDEST_FIELD) // max(1, len(self._rounds)) - GAP
        return max(NARROWEST_VALUE, min(share, WIDEST_VALUE))

    def gutter_of(self, row: int) -> str:
        return DIFFERS if self.everything and self._shown[row].differs else ""

    def cut_values(self) -> Content | None:
        """Return the uncut values of the row under the cursor if one of them is cut, else None."""
        if not self._shown:
            return None
        field = self._shown[self.cursor_row]
        texts = [clean_line(text) for text in field.texts]
        if field.key == VERDICT:
            return Content("\n".join(verdict.sentence for verdict in self._verdicts if verdict.sentence))
        if field.numeric or all(cell_len(text) <= self._widest_value for text in texts):
            return None
        parts: list[str | tuple[str, str]] = []
        for round_, text in zip(self._rounds, texts, strict=True):
            parts += [(f"{round_.number}  ", "bold"), f"{text}\n"]
        return Content.assemble(*parts).rstrip()


def cut_start(text: str, width: int) -> str:
    """Return the end of `text` in `width` cells: paths differ at their ends."""
    ending = text
    while cell_len(ending) > width - 1:
        ending = ending[1:]
    return "…" + set_cell_size(ending, width - 1)

"""The queue as a table: the rounds that run, then those that wait, in the order in which they start."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from engine.compare.columns import columns
from engine.spec.round import ACTIVE, Round, Status
from tui.screens.rounds.columns import STATUS_STYLES, row_note
from tui.widgets.table.cells import Cell, TableColumn
from tui.widgets.table.cursor_table import VirtualTable

COLUMNS = (
    TableColumn("place", "place", right=True), TableColumn("number", "#", right=True), TableColumn("status", "status"),
    TableColumn("name", "name"), TableColumn("steps", "steps", right=True), TableColumn("lr", "lr", right=True),
    TableColumn("note", "note", fills=True),
)  # fmt: skip


class QueueTable(VirtualTable):
    """One row for each round. The cursor stays on its round while the order changes."""

    _rounds: Sequence[Round] = ()
    _places: Sequence[int] = ()

    def show(self, rounds: Sequence[Round]) -> None:
        """Show `rounds` in this order."""
        self._rounds = rounds
        self._places = list(itertools.accumulate(int(round_.status not in ACTIVE) for round_ in rounds))
        self.present(COLUMNS, [round_.number for round_ in rounds], self.cursor_key)

    def cells_of(self, row: int) -> list[Cell]:
        round_, place = self._rounds[row], self._places[row]
        steps, rate = (columns()[key].text(round_) for key in ("total_steps", "train.learning_rate"))
        place_word = "now" if round_.status in ACTIVE else str(place) if round_.status is Status.QUEUED else "–"
        texts = (place_word, str(round_.number), str(round_.status), round_.name, steps, rate, row_note(round_))
        styles = ("", "", STATUS_STYLES[round_.status], "", "", "", "")
        return [Cell(text, style) for text, style in zip(texts, styles, strict=True)]

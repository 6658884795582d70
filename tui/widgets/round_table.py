"""The table of rounds: one row each, the note filling what the terminal leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.events import Resize

from engine.held_out import best_rounds
from engine.rounds import Round
from tui.widgets.line_table import Cell, TableColumn
from tui.widgets.round_columns import STATUS_STYLES, round_columns
from tui.widgets.virtual_table import VirtualTable


class RoundTable(VirtualTable):
    """Rounds as rows; the cursor stays with its round while the table changes beneath it."""

    chooses_columns = True

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rounds: Mapping[int, Round] = {}
        self._progress: Mapping[int, str] = {}
        self._best: frozenset[int] = frozenset()

    def show(self, rounds: Sequence[Round], progress: Mapping[int, str], select: int | None = None) -> None:
        """Show `rounds`; `progress` adds a word to the status of those that run. `select` moves the cursor."""
        self._rounds = {round_.number: round_ for round_ in rounds}
        self._progress = progress
        self._best = best_rounds(rounds)
        self._arrange(select)

    def show_progress(self, progress: Mapping[int, str]) -> None:
        """Show other words beside the status."""
        self._progress = progress
        self.refresh_rows()

    def on_resize(self, event: Resize) -> None:
        self._arrange(None)
        super().on_resize(event)

    def _arrange(self, select: int | None) -> None:
        width = self.app.size.width
        shown = [
            item.column for item in round_columns().values() if item.from_width is not None and item.from_width <= width
        ]
        self.present(shown, list(self._rounds), self.cursor_key if select is None else select)

    def cells_of(self, row: int) -> list[Cell]:
        key = self.rows[row]
        assert isinstance(key, int)
        return [self._cell(column, self._rounds[key]) for column in self.columns]

    def _cell(self, column: TableColumn, round_: Round) -> Cell:
        text = round_columns()[column.key].text(round_)
        if column.key == "status":
            return Cell(f"{text} {self._progress.get(round_.number, '')}".rstrip(), STATUS_STYLES[round_.status])
        if column.key == "perplexity" and round_.number in self._best:
            return Cell(f"★{text}", "bold $text-success")
        return Cell(text)

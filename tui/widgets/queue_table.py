"""The queue as a table: what runs, then what waits, as its turns come."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich.text import Text

from engine.columns import columns
from engine.rounds import ACTIVE, Round, Status
from tui.plain import clean_line
from tui.widgets.round_table import MIN_NOTE, STATUS_STYLES, RoundRows, cut, row_note

TITLES = ("place", "#", "status", "name", "steps", "lr", "note")


class QueueTable(RoundRows):
    """One row per round; the cursor stays with its round while the order changes."""

    _rounds: Sequence[Round] = ()

    def on_mount(self) -> None:
        for title in TITLES:
            self.add_column(title)

    def on_resize(self) -> None:
        self.show(self._rounds)

    def show(self, rounds: Sequence[Round]) -> None:
        """Show `rounds`, in this order; the note fills what the terminal leaves."""
        self._rounds = rounds
        selected, row = self.selected_number, self.cursor_row
        self.clear()
        places = itertools.accumulate(int(round_.status not in ACTIVE) for round_ in rounds)
        rows = [_cells(round_, place) for round_, place in zip(rounds, places, strict=True)]
        widths = [max(cell.cell_len for cell in column) for column in zip(map(Text, TITLES), *rows, strict=True)]
        room = self.app.size.width - sum(widths[:-1]) - 2 * len(TITLES) * self.cell_padding
        for round_, cells in zip(rounds, rows, strict=True):
            cells[-1] = cut(cells[-1].plain, max(room, MIN_NOTE))
            self.add_row(*cells, key=str(round_.number))
        numbers = [round_.number for round_ in rounds]
        self.move_cursor(row=numbers.index(selected) if selected in numbers else min(row, len(rounds) - 1))


def _cells(round_: Round, place: int) -> list[Text]:
    running = round_.status in ACTIVE
    steps, rate = (columns()[key].text(round_) for key in ("total_steps", "train.learning_rate"))
    place_word = "now" if running else str(place) if round_.status is Status.QUEUED else "–"
    texts = (place_word, str(round_.number), str(round_.status), round_.name[:20], steps, rate, row_note(round_))
    styles = ("", "", STATUS_STYLES[round_.status], "", "", "", "")
    right = (True, True, False, False, True, True, False)
    return [
        Text(clean_line(text), style, no_wrap=True, justify="right" if aligned else "left")
        for text, style, aligned in zip(texts, styles, right, strict=True)
    ]

"""The columns that a person chose and their order, saved in a small file for all workspaces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import msgspec
from msgspec import Struct
from platformdirs import user_state_path
from rich.cells import cell_len

from engine.compare.columns import columns
from engine.files.atomic import read_plain, write_atomically
from tui.screens.rounds.columns import GIVE_WAY, RoundColumn, round_columns
from tui.widgets.table.cells import GAP, MIN_FILL, MIN_SHRUNK, TableColumn

MAX_BYTES = 64 * 1024
LEAST_NOTE = 18  # cells without which a note is left to the detail below the table: the name says more in them
NOTE_ROOM = 26  # cells that must remain for the note where a column is shown that nobody chose
FIXED = "number"  # always shown, and always the first column


class ColumnLayout(Struct, frozen=True):
    """The order of the columns, and which of them are shown.

    Attributes:
        order: keys of columns; those that are missing come at the end.
        chosen: True for a column that the person chose to show, False for one to hide. The others are shown by their
            rank while there is room.
    """

    order: tuple[str, ...] = ()
    chosen: dict[str, bool] = {}

    def columns(self) -> list[RoundColumn]:
        """Return all columns in order. Keys in `order` that do not exist are skipped."""
        by_key = round_columns()
        first = [FIXED, *(key for key in dict.fromkeys(self.order) if key in by_key and key != FIXED)]
        return [by_key[key] for key in (*first, *(key for key in by_key if key not in first))]

    def shown(self, room: int, width_of: Callable[[str], int]) -> list[RoundColumn]:
        """Return the columns that are shown in `room` cells, in order.

        Args:
            width_of: returns the cells that a column needs; 0 for one that is empty for every round.
        """
        ordered = self.columns()
        keys = {column.key for column in ordered if self.chosen.get(column.key, column.rank == 0)} | {FIXED}
        for key in GIVE_WAY:
            if key in keys and key not in self.chosen and _least_width(ordered, keys, width_of) > room:
                keys.remove(key)
        free = room - sum(NOTE_ROOM if key == "note" else width_of(key) + GAP for key in keys)
        by_rank = sorted((column.rank, column.key) for column in ordered if column.rank is not None)
        for _, key in by_rank:
            width = width_of(key) if key not in keys and key not in self.chosen else 0
            if width and key == "note":
                width = max(LEAST_NOTE, min(NOTE_ROOM, free - GAP))
            if width and width + GAP <= free:
                keys.add(key)
                free -= width + GAP
        return [column for column in ordered if column.key in keys]

    def with_shown(self, key: str, shown: bool) -> ColumnLayout:
        """Return a layout that shows the column, or hides it."""
        return ColumnLayout(self.order, {**self.chosen, key: shown})

    def with_moved(self, key: str, by: int, among: Iterable[str]) -> ColumnLayout:
        """Return a layout with `key` one place further right, or left with `by` -1, counting the columns in `among`."""
        order = [column.key for column in self.columns()]
        movable = [other for other in order if other in {*among, key} and other != FIXED]
        if key not in movable or not 0 <= movable.index(key) + by < len(movable):
            return self
        target = movable[movable.index(key) + by]
        order.remove(key)
        order.insert(order.index(target) + (by > 0), key)
        return ColumnLayout(tuple(order), self.chosen)


def _least_width(ordered: Iterable[RoundColumn], keys: Collection[str], width_of: Callable[[str], int]) -> int:
    """Return the cells of a line in which each column is as narrow as it gets."""

    def least(column: TableColumn) -> int:
        if column.fills:
            return MIN_FILL
        sign = columns()[column.key].best is not None  # one that may stand before the number, such as a star
        width = max(width_of(column.key) + sign, cell_len(column.title))
        return min(width, MIN_SHRUNK) if column.shrinks else width

    return sum(least(column.column) + GAP for column in ordered if column.key in keys) - GAP


def layout_path() -> Path:
    """Return the path of the file that holds the layout."""
    return user_state_path("loratui") / "columns.json"


def read_layout() -> ColumnLayout:
    """Return the saved layout; a new one if there is none, or its file is damaged or belongs to somebody else."""
    try:
        return msgspec.json.decode(read_plain(layout_path(), max_bytes=MAX_BYTES), type=ColumnLayout)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return ColumnLayout()


def write_layout(layout: ColumnLayout) -> None:
    """Save the layout.

    Raises:
        OSError: the file cannot be written.
    """
    path = layout_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(layout), indent=1))

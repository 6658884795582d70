"""Which columns a person wants to see, and in which order: kept in a small file, across workspaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from msgspec import Struct
from platformdirs import user_state_path

from engine.files.atomic import read_plain, write_atomically
from tui.screens.rounds.columns import RoundColumn, round_columns
from tui.widgets.table.cells import GAP

MAX_BYTES = 64 * 1024
NOTE_ROOM = 26  # cells that columns leave to the note before they come by themselves
FIXED = "number"  # what a round is called by is always seen, and first


class ColumnLayout(Struct, frozen=True):
    """The order of all columns, and for those that the person decided on, whether they are shown.

    The others show by themselves as far as there is room.
    """

    order: tuple[str, ...] = ()
    chosen: dict[str, bool] = {}

    def columns(self) -> list[RoundColumn]:
        """All columns in order; those that a file does not know stand where a new table has them, at the end."""
        known = round_columns()
        kept = [key for key in dict.fromkeys(self.order) if key in known and key != FIXED]
        return [known[key] for key in (FIXED, *kept, *(key for key in known if key not in kept and key != FIXED))]

    def shown(self, room: int, width_of: Callable[[str], int]) -> list[RoundColumn]:
        """The columns that are shown where there are `room` cells for them, in order.

        Args:
            width_of: how many cells a column takes; 0 for one that says nothing of any round, which none needs.
        """
        listed = self.columns()
        kept = {item.column.key for item in listed if self.chosen.get(item.column.key, item.rank == 0)} | {FIXED}
        left = room - sum(NOTE_ROOM if key == "note" else width_of(key) + GAP for key in kept)
        by_rank = sorted((item.rank, item.column.key) for item in listed if item.rank is not None)
        for _, key in by_rank:
            width = width_of(key) if key not in kept and key not in self.chosen else 0
            if width and width + GAP <= left:
                kept.add(key)
                left -= width + GAP
        return [item for item in listed if item.column.key in kept]

    def with_shown(self, key: str, shown: bool) -> ColumnLayout:
        return ColumnLayout(self.order, {**self.chosen, key: shown})

    def with_moved(self, key: str, by: int, among: Iterable[str]) -> ColumnLayout:
        """`key` in the place of the next, or by -1 the previous, of those in `among`, the columns that are seen."""
        order = [item.column.key for item in self.columns()]
        seen = [other for other in order if other in {*among, key} and other != FIXED]
        if key not in seen or not 0 <= seen.index(key) + by < len(seen):
            return self
        target = seen[seen.index(key) + by]
        order.remove(key)
        order.insert(order.index(target) + (by > 0), key)
        return ColumnLayout(tuple(order), self.chosen)


def layout_path() -> Path:
    """The file that the layout is kept in."""
    return user_state_path("loratui") / "columns.json"


def read_layout() -> ColumnLayout:
    """The layout as it was left; a new one if there is none, or its file is damaged or not ours."""
    try:
        return msgspec.json.decode(read_plain(layout_path(), max_bytes=MAX_BYTES), type=ColumnLayout)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return ColumnLayout()


def write_layout(layout: ColumnLayout) -> None:
    """Keep the layout; raises OSError if the disk refuses."""
    path = layout_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(layout), indent=1))

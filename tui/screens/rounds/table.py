"""The table of rounds: one row each, the note filling what the terminal leaves."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec
from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.message import Message

from engine.compare.columns import Rounds, columns
from engine.compare.comparability import INCOMPARABLE, held_out_groups
from engine.compare.leaders import Leaders, find_leaders
from engine.compare.query import by_number
from engine.spec.round import Round
from tui.screens.rounds.arrangement import Arrangement, View, arrange, differing_columns
from tui.screens.rounds.column_layout import FIXED, ColumnLayout
from tui.screens.rounds.columns import STATUS_STYLES, round_columns
from tui.widgets.table.cells import Cell, TableColumn
from tui.widgets.table.cursor_table import VirtualTable
from tui.widgets.table.line_table import sample

BEST, MARKED, PINNED = "★", "●", "▲"


class RoundTable(VirtualTable):
    """Rounds as rows. Cursor and marks stay with their rounds while the table changes beneath them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", tooltip="Mark the round, or take its mark away", id="rounds.mark"),
        Binding(
            "s", "sort('')", "Sort", tooltip="Sort by the column chosen with ← →; again: by number", id="rounds.sort"
        ),
        Binding(
            "S", "sort('-')", "Sort down", show=False, id="rounds.sort_down",
            tooltip="Sort by the column, the largest first; again: by number",
        ),
        Binding(
            "o", "group", "Group", show=False, id="rounds.group",
            tooltip="Group by the column, with count and best of each group; again: no groups",
        ),
        Binding(
            "equals_sign", "differing", "Differing", show=False, id="rounds.differing",
            tooltip="Show only columns in which the rounds differ; again: all",
        ),
        Binding("minus", "hide", "Hide column", show=False, tooltip="Hide the column", id="rounds.hide"),
        Binding(
            "less_than_sign", "shift_column(-1)", "Column left", show=False, id="rounds.column_left",
            tooltip="Move the column to the left",
        ),
        Binding(
            "greater_than_sign", "shift_column(1)", "Column right", show=False, id="rounds.column_right",
            tooltip="Move the column to the right",
        ),
    ]  # fmt: skip
    chooses_columns = True
    gutter_width = 2
    empty_text = "No round matches: press / to change the filter, esc to see all rounds."

    class Rearranged(Message):
        """Other rounds are shown or marked, or in another order."""

    class LayoutChanged(Message):
        """The person chose other columns, or another order of them."""

        def __init__(self, layout: ColumnLayout) -> None:
            super().__init__()
            self.layout = layout

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.view = View()
        self.column_layout = ColumnLayout()
        self.arrangement = Arrangement()
        self._rounds: Rounds = {}
        self._marked: set[int] = set()
        self._progress: Mapping[int, str] = {}
        self._leaders_by_key: dict[str, Leaders] = {}
        self._tokens: Mapping[int, Hashable] = {}
        self._wide: dict[str, int] = {}
        self._seen_width = 0

    @property
    def marked(self) -> list[int]:
        """Numbers of the marked rounds, ascending."""
        return sorted(self._marked)

    def show(self, rounds: Iterable[Round], progress: Mapping[int, str], select: int | None = None) -> None:
        """Show `rounds`; `progress` adds a word to the status of those that run. `select` moves the cursor."""
        self._rounds = by_number(rounds)
        self._progress = progress
        self._marked &= self._rounds.keys()
        self._leaders_by_key.clear()
        self._wide.clear()
        self._arrange(self.view, select, known=False)

    def show_progress(self, progress: Mapping[int, str]) -> None:
        """Show other words beside the status."""
        self._progress = progress
        self.forget_cells()

    def set_view(self, *, select: int | None = None, **changes: str | bool) -> None:
        """Show other rounds, or in another order, the cursor on `select` if it is among them.

        Raises:
            SpecError: the filter makes no sense; nothing is changed.
        """
        self._arrange(msgspec.structs.replace(self.view, **changes), select, known=True)
        self.post_message(self.Rearranged())

    def set_layout(self, layout: ColumnLayout) -> None:
        """Show other columns, or in another order."""
        self.column_layout = layout
        self._present()

    def unmark(self) -> None:
        """Take all marks away."""
        self._marked.clear()
        self._tell_marks()

    def on_resize(self, event: Resize) -> None:
        if self.size.width != self._seen_width:
            self._seen_width = self.size.width
            self._present()
        super().on_resize(event)

    def _arrange(self, view: View, select: int | None, known: bool) -> None:
        self.arrangement = arrange(self._rounds, view)
        self.view = view
        self._present(select, known)

    def _present(self, select: int | None = None, known: bool = True) -> None:
        layout = self.column_layout
        shown = layout.shown(self.view_width - self.gutter_width, self._width_of)
        if self.view.differing:
            shown = differing_columns(layout, shown, self.arrangement.shown, self._rounds)
        columns = [item.column for item in shown]
        self.present(columns, self.arrangement.rows, self.cursor_key if select is None else select, known)

    def _width_of(self, key: str) -> int:
        """How wide a column is by a sample of all rounds, so that none comes or goes with filter and order."""
        if key not in self._wide:
            item, rounds = round_columns()[key], [*self._rounds.values()]
            width = max((cell_len(item.text(rounds[at], self._rounds)) for at in sample(len(rounds))), default=0)
            if not width and any(columns()[key].value(round_, self._rounds) is not None for round_ in rounds):
                width = 1
            self._wide[key] = width and max(min(width, item.column.widest), cell_len(item.column.title))
        return self._wide[key]

    def cells_of(self, row: int) -> Sequence[Cell]:
        key = self.rows[row]
        if isinstance(key, str):
            return ()
        return [self._cell(column, self._rounds[key]) for column in self.columns]

    def _cell(self, column: TableColumn, round_: Round) -> Cell:
        text = round_columns()[column.key].text(round_, self._rounds)
        if column.key == "status":
            return Cell(f"{text} {self._progress.get(round_.number, '')}".rstrip(), STATUS_STYLES[round_.status])
        if columns()[column.key].best is None:
            return Cell(text)
        leaders = self._leaders(column.key)
        text = f"{INCOMPARABLE * (round_.number in leaders.incomparable)}{text}"
        return Cell(f"{BEST}{text}", "bold $text-success") if round_.number in leaders.best else Cell(text)

    def _leaders(self, key: str) -> Leaders:
        if not self._leaders_by_key:
            self._tokens = held_out_groups(self._rounds.values())
        if key not in self._leaders_by_key:
            self._leaders_by_key[key] = find_leaders(self._rounds.values(), key, self._tokens)
        return self._leaders_by_key[key]

    def apart_from(self, round_: Round) -> Round | None:
        """The round that most can be held against, if `round_` cannot be by its perplexity."""
        leaders = self._leaders("perplexity")
        if round_.number not in leaders.incomparable or leaders.reference is None:
            return None
        return self._rounds[leaders.reference]

    def heading_of(self, row: int) -> str | None:
        key = self.rows[row]
        return self.arrangement.headings[key] if isinstance(key, str) else None

    def gutter_of(self, row: int) -> str:
        key = self.rows[row]
        if isinstance(key, str):
            return ""
        return (MARKED if key in self._marked else " ") + (PINNED if self._rounds[key].pinned else " ")

    def is_marked(self, row: int) -> bool:
        return self.rows[row] in self._marked

    def title_of(self, column: TableColumn) -> str:
        if column.key == self.view.sort.removeprefix("-"):
            return f"{column.title}{'↓' if self.view.sort.startswith('-') else '↑'}"
        return column.title

    # What the keys do

    def action_mark(self) -> None:
        if (number := self.selected_number) is not None:
            self._marked ^= {number}
            self._tell_marks()
            self.action_move(1)

    def _tell_marks(self) -> None:
        self.refresh_rows()
        self.post_message(self.Rearranged())

    def action_sort(self, sign: str) -> None:
        if self.column is not None:
            self.sort_by(self.column.key, sign)

    def sort_by(self, key: str, sign: str) -> None:
        """Sort by a column, ascending or with the sign `-` descending; as it was by number if it is so already."""
        wanted = "" if self.view.sort == sign + key or (key == FIXED and not sign) else sign + key
        self.set_view(sort=wanted)

    def on_virtual_table_header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        """A click sorts; the next ones sort the other way, and by number again."""
        self.choose_column([column.key for column in self.columns].index(event.key))
        self.sort_by(event.key, "-" if self.view.sort in (event.key, f"-{event.key}") else "")

    def action_group(self) -> None:
        if self.column is None:
            return
        key = "" if self.view.group == self.column.key else self.column.key
        if key and (told := self._grouping_tells_nothing(key)):
            self.notify(told, severity="warning", markup=False)
            return
        self.set_view(group=key)

    def _grouping_tells_nothing(self, key: str) -> str:
        column, shown, seen = columns()[key], self.arrangement.shown, set()
        for round_ in shown:
            if (value := column.value(round_, self._rounds)) in seen:
                return ""
            seen.add(value)
        if len(shown) > 1:
            return f"Every round has a {round_columns()[key].column.title} of its own: choose another column with ← →"
        return ""

    def action_differing(self) -> None:
        self.set_view(differing=not self.view.differing)

    def action_hide(self) -> None:
        if self.column is None or self.column.key == FIXED:
            self.notify("The number is always shown: choose another column with ← →", severity="warning", markup=False)
            return
        self.change_layout(self.column_layout.with_shown(self.column.key, False))

    def action_shift_column(self, by: int) -> None:
        if self.column is not None:
            seen = [column.key for column in self.columns]
            self.change_layout(self.column_layout.with_moved(self.column.key, by, seen))
            self.choose_column(self.cursor_column)

    def change_layout(self, layout: ColumnLayout) -> Collection[str]:
        """Show other columns because the person wants them, which is told; returns which are shown now."""
        self.set_layout(layout)
        self.post_message(self.LayoutChanged(layout))
        return self.shown_keys

    @property
    def shown_keys(self) -> Collection[str]:
        """The keys of the columns that are shown."""
        return {column.key for column in self.columns}

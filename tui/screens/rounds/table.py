"""The table of rounds: one row for each; the note takes the width that the other columns leave."""

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
from engine.compare.query import by_number, why_none
from engine.spec.round import ACTIVE, Round, Status
from tui.screens.rounds.arrangement import Arrangement, View, arrange, differing_columns
from tui.screens.rounds.column_layout import FIXED, ColumnLayout
from tui.screens.rounds.columns import STATUS_STYLES, round_columns
from tui.widgets.table.cells import Cell, TableColumn
from tui.widgets.table.cursor_table import VirtualTable
from tui.widgets.table.line_table import sample

WIDEST_STATUS = f"{Status.RUNNING} 99 %"  # its progress comes later than the row
BEST, MARKED, PINNED = "★", "●", "▲"


class RoundTable(VirtualTable):
    """Rounds as rows. Cursor and marks stay on their rounds when rows are added, removed or reordered.

    `why_none` says why the filter leaves no round; it is "" if there are some.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", tooltip="Mark the round, or unmark it", id="rounds.mark"),
        Binding(
            "s", "sort('')", "Sort", tooltip="Sort by the column chosen with ← →; again: by number", id="rounds.sort"
        ),
        Binding(
            "S", "sort('-')", "Sort down", show=False, id="rounds.sort_down",
            tooltip="Sort by the chosen column, largest first; again: by number",
        ),
        Binding(
            "o", "group", "Group", show=False, id="rounds.group",
            tooltip="Group by the chosen column, with count and best of each group; again: no groups",
        ),
        Binding(
            "equals_sign", "differing", "Differing", show=False, id="rounds.differing",
            tooltip="Show only the columns in which the rounds differ; again: all",
        ),
        Binding("minus", "hide", "Hide column", show=False, tooltip="Hide the chosen column", id="rounds.hide"),
        Binding(
            "less_than_sign", "shift_column(-1)", "Column left", show=False, id="rounds.column_left",
            tooltip="Move the chosen column to the left",
        ),
        Binding(
            "greater_than_sign", "shift_column(1)", "Column right", show=False, id="rounds.column_right",
            tooltip="Move the chosen column to the right",
        ),
    ]  # fmt: skip
    chooses_columns = True
    gutter_width = 2

    class Rearranged(Message):
        """The shown rounds, their order or the marks have changed."""

    class LayoutChanged(Message):
        """The person chose other columns, or another order of columns."""

        def __init__(self, layout: ColumnLayout) -> None:
            super().__init__()
            self.layout = layout

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.view = View()
        self.column_layout = ColumnLayout()
        self.arrangement = Arrangement()
        self.why_none = ""
        self._rounds: Rounds = {}
        self._marked: set[int] = set()
        self._progress: Mapping[int, str] = {}
        self._leaders_by_key: dict[str, Leaders] = {}
        self._tokens: Mapping[int, Hashable] = {}
        self._sampled_widths: dict[str, int] = {}
        self._last_width = 0

    @property
    def marked(self) -> list[int]:
        """The numbers of the marked rounds, ascending."""
        return sorted(self._marked)

    def show(self, rounds: Iterable[Round], progress: Mapping[int, str], select: int | None = None) -> None:
        """Show `rounds`.

        Args:
            progress: by number, words that are shown behind the status.
            select: number of the round that gets the cursor; None leaves it where it is.
        """
        self._rounds = by_number(rounds)
        self._progress = progress
        self._marked &= self._rounds.keys()
        self._leaders_by_key.clear()
        self._sampled_widths.clear()
        self._arrange(self.view, select, known=False)

    def show_progress(self, progress: Mapping[int, str]) -> None:
        """Show other words behind the status."""
        self._progress = progress
        self.forget_cells()

    def set_view(self, *, select: int | None = None, **changes: str | bool) -> None:
        """Change the view, with the cursor on the round `select` if it is shown.

        Raises:
            SpecError: the filter cannot be read; nothing is changed.
        """
        self._arrange(msgspec.structs.replace(self.view, **changes), select, known=True)
        self.post_message(self.Rearranged())

    def set_layout(self, layout: ColumnLayout) -> None:
        """Show other columns, or another order of columns."""
        self.column_layout = layout
        self._present()

    def unmark(self) -> None:
        """Unmark all rounds."""
        self._marked.clear()
        self._marks_changed()

    def on_resize(self, event: Resize) -> None:
        if self.size.width != self._last_width:
            self._last_width = self.size.width
            self._present()
        super().on_resize(event)

    def _arrange(self, view: View, select: int | None, known: bool) -> None:
        self.arrangement = arrange(self._rounds, view)
        self.view = view
        self.why_none = "" if self.arrangement.shown else why_none(view.filter, self._rounds)
        self.empty_text = f"{self.why_none[:1].upper()}{self.why_none[1:]}: / changes the filter, esc shows all rounds"
        self._present(select, known)

    def _present(self, select: int | None = None, known: bool = True) -> None:
        layout = self.column_layout
        shown = layout.shown(self.view_width - self.gutter_width, self._width_of)
        if self.view.differing:
            shown = differing_columns(layout, shown, self.arrangement.shown, self._rounds)
        columns = [column.column for column in shown]
        self.present(columns, self.arrangement.rows, self.cursor_key if select is None else select, known)

    def _width_of(self, key: str) -> int:
        """Return the width of a column by a sample of all rounds, so that it does not depend on filter and order."""
        if key not in self._sampled_widths:
            shown, rounds = round_columns()[key], [*self._rounds.values()]
            width = max((cell_len(shown.text(rounds[at], self._rounds)) for at in sample(len(rounds))), default=0)
            if not width and any(columns()[key].value(round_, self._rounds) is not None for round_ in rounds):
                width = 1
            if key == "status" and any(round_.status in ACTIVE for round_ in rounds):
                width = max(width, len(WIDEST_STATUS))
            self._sampled_widths[key] = width and max(min(width, shown.column.widest), cell_len(shown.column.title))
        return self._sampled_widths[key]

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

    def not_comparable_with(self, round_: Round) -> Round | None:
        """Return a round that most others can be compared with by perplexity, if `round_` cannot; else None."""
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
            self._marks_changed()
            self.action_move(1)

    def _marks_changed(self) -> None:
        self.refresh_rows()
        self.post_message(self.Rearranged())

    def action_sort(self, sign: str) -> None:
        if self.column is not None:
            self.sort_by(self.column.key, sign)

    def sort_by(self, key: str, sign: str) -> None:
        """Sort by a column, ascending or with the sign `-` descending; by number if it is sorted so already."""
        again = self.view.sort == sign + key or (key == FIXED and not sign)
        self.set_view(sort="" if again else sign + key)

    def on_virtual_table_header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        """Sort by the clicked column; a second click sorts descending, a third one by number."""
        self.choose_column([column.key for column in self.columns].index(event.key))
        self.sort_by(event.key, "-" if self.view.sort in (event.key, f"-{event.key}") else "")

    def action_group(self) -> None:
        if self.column is None:
            return
        key = "" if self.view.group == self.column.key else self.column.key
        if key and self._all_values_differ(key):
            title = round_columns()[key].column.title
            text = f"No two rounds have the same {title}: choose another column with ← →"
            self.notify(text, severity="warning", markup=False)
            return
        self.set_view(group=key)

    def _all_values_differ(self, key: str) -> bool:
        """True if each group would have one round."""
        column, shown, values = columns()[key], self.arrangement.shown, set()
        for round_ in shown:
            if (value := column.value(round_, self._rounds)) in values:
                return False
            values.add(value)
        return len(shown) > 1

    def action_differing(self) -> None:
        self.set_view(differing=not self.view.differing)

    def action_hide(self) -> None:
        if self.column is None or self.column.key == FIXED:
            self.notify("The number is always shown: choose another column with ← →", severity="warning", markup=False)
            return
        self.change_layout(self.column_layout.with_shown(self.column.key, False))

    def action_shift_column(self, by: int) -> None:
        if self.column is not None:
            among = [column.key for column in self.columns]
            self.change_layout(self.column_layout.with_moved(self.column.key, by, among))
            self.choose_column(self.cursor_column)

    def change_layout(self, layout: ColumnLayout) -> Collection[str]:
        """Show other columns, post `LayoutChanged`, and return the keys of the columns that are shown now."""
        self.set_layout(layout)
        self.post_message(self.LayoutChanged(layout))
        return self.shown_keys

    @property
    def shown_keys(self) -> Collection[str]:
        """The keys of the columns that are shown."""
        return {column.key for column in self.columns}

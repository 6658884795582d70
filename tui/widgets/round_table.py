"""The table of rounds: one row each, the note filling what the terminal leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from msgspec import Struct
from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.events import Resize
from textual.widgets import DataTable

from engine.columns import columns
from engine.comparison import best_rounds
from engine.fields import format_value
from engine.rounds import ACTIVE, Round, Status
from tui.plain import clean_line

STATUS_STYLES = {
    Status.RUNNING: "bold cyan", Status.STOPPING: "bold yellow", Status.QUEUED: "cyan", Status.HELD: "yellow",
    Status.FINISHED: "green", Status.STOPPED: "yellow", Status.FAILED: "bold red", Status.INTERRUPTED: "bold magenta",
    Status.IMPORTED: "dim",
}  # fmt: skip
MIN_NOTE = 12


class TableColumn(Struct, frozen=True):
    """One column as the table shows it; it appears from `from_width` terminal columns on."""

    title: str
    text: Callable[[Round], str]
    right: bool = False
    from_width: int = 0


def _column(key: str, title: str, right: bool = True, from_width: int = 0) -> TableColumn:
    return TableColumn(title, columns()[key].text, right, from_width)


def _batch(round_: Round) -> str:
    train = round_.spec.train
    return f"{train.per_device_train_batch_size}×{train.gradient_accumulation_steps}"


def _rank(round_: Round) -> str:
    return f"{round_.spec.lora.r}/{round_.spec.lora.lora_alpha}"


def _model(round_: Round) -> str:
    return round_.spec.model.path.rstrip("/").rpartition("/")[2]


TABLE_COLUMNS = (
    _column("number", "#"),
    TableColumn("name", lambda round_: round_.name[:20], from_width=120),
    TableColumn("status", lambda round_: str(round_.status)),
    TableColumn("model", lambda round_: _model(round_)[:22], from_width=150),
    _column("train.learning_rate", "lr"),
    TableColumn("batch", _batch, right=True),
    TableColumn("r/alpha", _rank, right=True, from_width=100),
    TableColumn("ep", lambda round_: format_value(round_.spec.train.num_train_epochs), right=True),
    TableColumn("warm", lambda round_: format_value(round_.spec.train.warmup_steps), right=True),
    _column("train_seconds", "time"),
    _column("eval_loss", "loss"),
    _column("perplexity", "ppl"),
    _column("base_perplexity", "base ppl", from_width=120),
)


def row_note(round_: Round) -> str:
    """What a row says in words: why it failed if it did or what is amiss while it runs, else its note."""
    amiss = round_.status in (Status.FAILED, Status.INTERRUPTED, *ACTIVE)
    return round_.message if amiss and round_.message else round_.note


class RoundRows(DataTable[Text]):
    """A table with a row per round, whose key is the round's number."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "select_cursor", "Open", tooltip="Watch the selected round: curve, figures, log", id="table.open"
        ),
        Binding("j", "cursor_down", "Down", show=False, id="table.down"),
        Binding("k", "cursor_up", "Up", show=False, id="table.up"),
        Binding("g", "scroll_top", "First", show=False, id="table.first"),
        Binding("G", "scroll_bottom", "Last", show=False, id="table.last"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row")

    @property
    def selected_number(self) -> int | None:
        """The number of the round under the cursor."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        return int(key) if key is not None else None


class RoundTable(RoundRows):
    """Rounds as rows; the cursor stays with its round while the table changes beneath it."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rounds: Sequence[Round] = ()
        self._progress: Mapping[int, str] = {}
        self._shape: tuple[object, ...] = ()

    def show(self, rounds: Sequence[Round], progress: Mapping[int, str], select: int | None = None) -> None:
        """Show `rounds`; `progress` adds a word to the status of those that run. `select` moves the cursor."""
        wanted = select if select is not None else self.selected_number
        self._rounds, self._progress = rounds, progress
        self._fill(wanted)

    def on_resize(self, event: Resize) -> None:
        if self._rounds:
            self._fill(self.selected_number)

    def _fill(self, select: int | None) -> None:
        shown = [column for column in TABLE_COLUMNS if column.from_width <= self.app.size.width]
        best = best_rounds(self._rounds)
        rows = [[self._cell(column, round_, best) for column in shown] for round_ in self._rounds]
        widths = [
            max([cell_len(column.title), *(cell_len(row[index].plain) for row in rows)])
            for index, column in enumerate(shown)
        ]
        note_width = max(MIN_NOTE, self.size.width - sum(widths) - 2 * (len(widths) + 1) - 2)
        shape = (*[column.title for column in shown], *widths, note_width)
        if shape != self._shape:
            self._shape = shape
            self.clear(columns=True)
            for column, width in zip(shown, widths, strict=True):
                self.add_column(Text(column.title.rjust(width) if column.right else column.title), width=width)
            self.add_column(Text("note"), width=note_width)
        for row in rows:
            for cell, column, width in zip(row, shown, widths, strict=True):
                if column.right:
                    cell.pad_left(width - cell.cell_len)
        self._fill_rows(rows, note_width)
        if select is not None and any(round_.number == select for round_ in self._rounds):
            self.move_cursor(row=self.get_row_index(str(select)), animate=False)

    def _fill_rows(self, rows: list[list[Text]], note_width: int) -> None:
        """Rows as they should be; where the same rounds stand already, only cells that differ are touched."""
        keys = [str(round_.number) for round_ in self._rounds]
        for row, round_ in zip(rows, self._rounds, strict=True):
            row.append(cut(clean_line(row_note(round_)), note_width))
        if [row.key.value for row in self.ordered_rows] != keys:
            self.clear()
            for key, row in zip(keys, rows, strict=True):
                self.add_row(*row, key=key)
            return
        for index, row in enumerate(rows):
            for column, (old, new) in enumerate(zip(self.get_row_at(index), row, strict=True)):
                if old != new:
                    self.update_cell_at(Coordinate(index, column), new)

    def _cell(self, column: TableColumn, round_: Round, best: frozenset[int]) -> Text:
        text, style = clean_line(column.text(round_)), ""
        if column.title == "status":
            style = STATUS_STYLES[round_.status]
            text = f"{text} {self._progress.get(round_.number, '')}".rstrip()
        elif column.title == "ppl" and round_.number in best:
            text, style = f"★{text}", "bold green"
        return Text(text, style=style, no_wrap=True)


def cut(text: str, width: int) -> Text:
    """`text` on one line of at most `width` cells, an ellipsis where it was cut."""
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + "…"
    return Text(text, no_wrap=True)

"""The queue: the rounds that train now and those that wait, which can be reordered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from engine.api import Cockpit
from engine.compare.columns import columns
from engine.spec.round import ACTIVE, WAITING, Round, Status, in_queue_order
from tui.messages import ActionDone, RoundsRead
from tui.screens.rounds.columns import STATUS_STYLES, row_note
from tui.screens.rounds.selection import SelectedRoundsScreen
from tui.widgets.key_footer import KeyFooter
from tui.widgets.table.cells import Cell, TableColumn
from tui.widgets.table.cursor_table import VirtualTable

COLUMNS = (
    TableColumn("place", "place", right=True), TableColumn("number", "#", right=True), TableColumn("status", "status"),
    TableColumn("name", "name"), TableColumn("steps", "steps", right=True), TableColumn("lr", "lr", right=True),
    TableColumn("note", "note", fills=True),
)  # fmt: skip
EMPTY_TEXT = "Nothing runs and nothing waits: press esc, then n for a new round."


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


class QueueScreen(SelectedRoundsScreen):
    """The queue of the workspace. Held rounds keep their place and do not start."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "K,shift+up", "move(-1)", "Earlier", tooltip="Move the selected round up in the queue", id="queue.earlier"
        ),
        Binding(
            "J,shift+down", "move(1)", "Later", tooltip="Move the selected round down in the queue", id="queue.later"
        ),
        Binding(
            "t", "run_next", "Next", tooltip="Run the selected round next; a held one is released", id="queue.next"
        ),
        Binding("escape,u", "app.pop_screen", "Back", tooltip="Back to the table of rounds", id="queue.back"),
    ]

    def __init__(self, cockpit: Cockpit, rounds: Sequence[Round]) -> None:
        super().__init__(cockpit)
        self._rounds = rounds
        self._queue: list[Round] = []

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield QueueTable(id="queue")
        yield Static(EMPTY_TEXT, id="empty", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.show_rounds(self._rounds)

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        running = [round_ for round_ in rounds if round_.status in ACTIVE]
        self._queue = [*running, *in_queue_order(round_ for round_ in rounds if round_.status in WAITING)]
        table = self.query_one(QueueTable)
        table.show(self._queue)
        table.display = bool(self._queue)
        self.query_one("#empty", Static).display = not self._queue
        held_count = sum(round_.status is Status.HELD for round_ in self._queue)
        counts = [f"{len(running)} running", f"{len(self._queue) - len(running) - held_count} queued"]
        self.query_one("#title", Static).update(
            Content.assemble(("Queue", "bold"), "   " + " · ".join(counts + [f"{held_count} held"] * bool(held_count)))
        )
        self.refresh_bindings()

    @property
    def selected(self) -> Round | None:
        number = self.query_one(QueueTable).selected_number
        return next((round_ for round_ in self._queue if round_.number == number), None)

    @property
    def rounds_to_export(self) -> Sequence[Round]:
        return self._queue

    @on(QueueTable.Selected)
    def _open(self) -> None:
        self.action_open()

    @on(QueueTable.Highlighted)
    def _refresh_footer(self) -> None:
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the key to resume: a round that waits or runs cannot be resumed."""
        return action != "resume" and super().check_action(action, parameters)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        round_ = self.selected
        if action in ("move", "run_next") and not self.cockpit.readonly:
            if round_ is None:
                return "nothing waits in the queue"
            if round_.status not in WAITING:
                return f"round {round_.number} is {round_.status}: only rounds that wait can be moved in the queue"
        return super().why_not(action, parameters)

    def action_move(self, by: int) -> None:
        if (round_ := self.selected) is not None:
            self.carry_out(
                lambda: self.cockpit.shift(round_.number, by), lambda _: RoundsRead(self.cockpit.store.rounds())
            )

    def action_run_next(self) -> None:
        if (round_ := self.selected) is not None:
            self.carry_out(
                lambda: self.cockpit.run_next(round_.number),
                lambda _: ActionDone(f"round {round_.number} runs next"),
            )

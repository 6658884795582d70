"""The queue: the rounds that train now and those that wait, when each starts, and keys that change their order."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static
from textual.worker import get_current_worker

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.compare.columns import columns
from engine.errors import LoratuiError
from engine.spec.round import ACTIVE, WAITING, Round, Status, in_queue_order
from tui.messages import ActionDone, QueueForeseen, RoundsRead
from tui.screens.rounds.columns import STATUS_STYLES, row_note
from tui.screens.rounds.selection import SelectedRoundsScreen
from tui.views.queue import end_in_words, start_in_words
from tui.widgets.key_footer import KeyFooter
from tui.widgets.table.cells import Cell, TableColumn
from tui.widgets.table.cursor_table import VirtualTable

if TYPE_CHECKING:  # the table of rounds does not wait for the modules that measure the machine
    from engine.runner.queue_outlook import QueueOutlook

COLUMNS = (
    TableColumn("place", "place", right=True), TableColumn("number", "#", right=True), TableColumn("status", "status"),
    TableColumn("name", "name", shrinks=True), TableColumn("steps", "steps", right=True),
    TableColumn("lr", "lr", right=True), TableColumn("starts", "starts"), TableColumn("note", "note", fills=True),
)  # fmt: skip
ASKING = "…"  # while the machine is asked
EMPTY_TEXT = "Nothing runs and nothing waits: press esc, then n for a new round."


class QueueTable(VirtualTable):
    """One row for each round. The cursor stays on its round while the order changes."""

    _rounds: Sequence[Round] = ()
    _places: Sequence[int] = ()
    _starts: Sequence[str] = ()

    def show(self, rounds: Sequence[Round], starts: Sequence[str]) -> None:
        """Show `rounds` in this order, and when each of them starts."""
        self._rounds, self._starts = rounds, starts
        self._places = list(itertools.accumulate(int(round_.status not in ACTIVE) for round_ in rounds))
        self.present(COLUMNS, [round_.number for round_ in rounds], self.cursor_key)

    def show_starts(self, starts: Sequence[str]) -> None:
        """Show other starts of the same rounds."""
        if starts != self._starts:
            self._starts = starts
            self.forget_cells()

    def cells_of(self, row: int) -> list[Cell]:
        round_, place = self._rounds[row], self._places[row]
        steps, rate = (columns()[key].text(round_) for key in ("total_steps", "train.learning_rate"))
        place_word = "now" if round_.status in ACTIVE else str(place) if round_.status is Status.QUEUED else "–"
        texts = (
            place_word, str(round_.number), str(round_.status), round_.name, steps, rate, self._starts[row],
            row_note(round_),
        )  # fmt: skip
        styles = ("", "", STATUS_STYLES[round_.status], "", "", "", "", "")
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

    def __init__(
        self, cockpit: Cockpit, rounds: Sequence[Round], progress: Mapping[int, RunProgress] | None = None
    ) -> None:
        """Show `rounds`; `progress` is that of the running ones, by number."""
        super().__init__(cockpit)
        self._rounds = rounds
        self._progress = progress or {}
        self._queue: list[Round] = []
        self._outlook: QueueOutlook | None = None
        self._looked_at: object = None  # all on which the outlook depends
        self._title = ""

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield QueueTable(id="queue")
        yield Static(EMPTY_TEXT, id="empty", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.show_rounds(self._rounds)

    def on_resize(self) -> None:
        self._show_times()

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        self._rounds = rounds
        running = [round_ for round_ in rounds if round_.status in ACTIVE]
        self._queue = [*running, *in_queue_order(round_ for round_ in rounds if round_.status in WAITING)]
        starts, ends = self._times_in_words()
        table = self.query_one(QueueTable)
        table.show(self._queue, starts)
        table.display = bool(self._queue)
        self.query_one("#empty", Static).display = not self._queue
        self._draw_title(ends)
        self._look_ahead_if_changed()
        self.refresh_bindings()

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        self._progress = progress
        self._show_times()

    def show_notices(self, notices: Sequence[str]) -> None:
        super().show_notices(notices)
        self._look_ahead_if_changed()

    def _show_times(self) -> None:
        """Show when each round starts and when all are done, which changes while one trains."""
        starts, ends = self._times_in_words()
        for table in self.query(QueueTable):
            table.show_starts(starts)
        self._draw_title(ends)

    def _times_in_words(self) -> tuple[list[str], list[str]]:
        """Return the start of each round in the table, and when all are done, in more words and in fewer."""
        if self._outlook is None:
            return [ASKING * (round_.status is Status.QUEUED) for round_ in self._queue], [""]
        now = time.time()
        times = self._outlook.times(self._queue, self._progress, now)
        starts = [start_in_words(round_, times, now) for round_ in self._queue]
        return starts, [end_in_words(times.done, now), end_in_words(times.done, now, with_bounds=False)]

    def _draw_title(self, ends: Sequence[str]) -> None:
        """Show how many rounds run and wait, and the first of `ends` for which there is room."""
        counts = Counter(round_.status for round_ in self._queue)
        running = sum(counts[status] for status in ACTIVE)
        parts = [f"{running} running", f"{counts[Status.QUEUED]} queued"]
        parts += [f"{counts[Status.HELD]} held"] * bool(counts[Status.HELD])
        titles = [" · ".join(filter(None, [*parts, end])) for end in ends]
        for line in self.query("#title").results(Static):
            room = line.content_size.width - len("Queue   ")
            title = next((title for title in titles if len(title) <= room), titles[-1])
            if title != self._title:
                self._title = title
                line.update(Content.assemble(("Queue", "bold"), f"   {title}"))

    def _look_ahead_if_changed(self) -> None:
        """Ask the machine if another round runs, waits or has finished, or if something is wrong with the runner."""
        unfinished = [(round_.id, round_.status, round_.gpu) for round_ in self._queue]
        finished_count = sum(round_.status is Status.FINISHED for round_ in self._rounds)
        depends_on = sorted(unfinished, key=str), finished_count, list(self._notices)
        if self._queue and depends_on != self._looked_at:
            self._looked_at = depends_on
            self._look_ahead(self._rounds)

    @work(thread=True, exclusive=True, group="outlook")
    def _look_ahead(self, rounds: Sequence[Round]) -> None:
        from engine.runner.queue_outlook import QueueOutlook, look_ahead

        try:
            outlook = look_ahead(self.cockpit.runner, rounds)
        except LoratuiError:  # of the lock, which the banner shows
            outlook = QueueOutlook(is_at_work=False, gpus=frozenset(), durations={})
        if not get_current_worker().is_cancelled:
            self.post_message(QueueForeseen(outlook))

    @on(QueueForeseen)
    def _show_outlook(self, event: QueueForeseen) -> None:
        self._outlook = event.outlook
        self._show_times()

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

"""The first screen: the table of rounds, and what there is to know of the one under the cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import ScreenResume
from textual.timer import Timer
from textual.widgets import Static

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.compare.diff import check_count
from engine.compare.extra_evaluations import EvaluationSummary, read_evaluations
from engine.errors import LoratuiError, RoundError
from engine.report.export import to_markdown, write_export
from engine.spec.round import ACTIVE, WAITING, Round, Status, in_queue_order
from tui.messages import ActionDone, ActionFailed, EvaluationsRead, NewRoundWanted, PreferencesRead
from tui.pollers import follow_store
from tui.screens.chat.open import TalkableScreen
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.screens.rounds.detail import RoundDetail
from tui.screens.rounds.queue_screen import QueueScreen
from tui.screens.rounds.selection import named
from tui.screens.rounds.table import RoundTable
from tui.screens.rounds.title import rounds_title
from tui.terminal.console import clean
from tui.widgets.key_footer import KeyFooter

EXPORT_NAME = "comparison.md"
RESTING_SECONDS = 0.15  # with the cursor on a round before its files are read
STEADY_LINES = 10  # what more a round has to tell, only it takes from the table
FIRST_KEYS = (
    "table.open", "rounds.new", "rounds.filter", "rounds.sort", "rounds.mark", "rounds.compare", "rounds.talk",
    "round.stop", "rounds.note", "rounds.queue", "rounds.lineage", "app.quit",
)  # fmt: skip
EMPTY_TEXT = "No rounds yet: press n to start one.\n\nThe preset nano trains on the CPU in a minute · ? shows every key"


class RoundsScreen(TalkableScreen):
    """Every round of the workspace."""

    TITLE_TEXT = "Rounds"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", tooltip="Start a new round from a preset or the selected round", id="rounds.new"),
        Binding(
            "e", "export", "Export", tooltip="Write the rounds marked, or those shown, as Markdown", id="rounds.export"
        ),
        Binding(
            "u", "queue", "Queue", tooltip="Show what runs and what waits, and change the order", id="rounds.queue"
        ),
        Binding(
            "c",
            "compare",
            "Compare",
            tooltip="Marked rounds side by side, or this and its parent",
            id="rounds.compare",
        ),
        Binding(
            "a", "lineage", "Ancestry", tooltip="Which round came from which, and how it moved", id="rounds.lineage"
        ),
    ]  # fmt: skip

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__(cockpit)
        self._rounds: dict[int, Round] = {}
        self._error: LoratuiError | None = None
        self._progress: dict[int, str] = {}
        self._shown_once = False
        self._detail_lines = 0
        self._evaluations: dict[str, Sequence[EvaluationSummary]] = {}
        self._reading: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield RoundTable(id="rounds")
        yield Static(EMPTY_TEXT, id="empty", markup=False)
        yield RoundDetail(id="round-detail")
        yield KeyFooter(FIRST_KEYS)

    def on_mount(self) -> None:
        self._follow_store()

    @work(thread=True, group="store")
    def _follow_store(self) -> None:
        """For all screens, through the app; begun here, where there is something by now to show the rounds on."""
        self.recall_layout()
        follow_store(self.cockpit, self.app.post_message)

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """The store's rounds, at once and at every change."""
        self._error = None
        self._rounds = {round_.number: round_ for round_ in rounds}
        self._refresh_table()

    def show_unreadable(self, error: LoratuiError) -> None:
        """Where the table would be, and for as long as it lasts, if there was no table yet."""
        if not self._rounds:
            self._error = error
            self._refresh_table()

    @on(ScreenResume)
    def _refresh_table(self) -> None:
        """Show what is known, if this screen is the one seen."""
        if not self.is_active:
            return
        rounds = list(self._rounds.values())
        select = None
        if rounds and not self._shown_once:
            self._shown_once = True
            select = next((item.number for item in rounds if item.status in ACTIVE), rounds[-1].number)
        table = self.table
        table.show(rounds, self._status_words(), select)
        if rounds and not table.display:
            table.display = True
            if self.focused is None:
                table.focus()
        table.display = bool(rounds)
        self.query_one(RoundDetail).display = bool(rounds)
        empty = self.query_one("#empty", Static)
        error = self._error
        empty.update(Content.styled(error.title, "bold $text-error") if error else EMPTY_TEXT)
        empty.display = not rounds
        self._show_title()
        self._show_detail()

    @on(RoundTable.Rearranged)
    def _show_title(self) -> None:
        table = self.table
        shown, marked = len(table.arrangement.shown), len(table.marked)
        title = rounds_title(self._rounds.values(), table.view, shown, marked, self.cockpit.workspace.root)
        self.query_one("#title", Static).update(title)
        self.allow()

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        """How far the running rounds are, for the table; beneath another screen it is only kept."""
        self._progress = {number: words for number, run in progress.items() if (words := _how_far(run))}
        if self.is_active:
            self.table.show_progress(self._status_words())

    def _status_words(self) -> dict[int, str]:
        """What the table adds to the status: how far a round is, or its place in the queue."""
        waiting = in_queue_order(round_ for round_ in self._rounds.values() if round_.status in WAITING)
        places = {item.number: str(place) for place, item in enumerate(waiting, 1) if item.status is Status.QUEUED}
        running = {item.number for item in self._rounds.values() if item.status in ACTIVE}
        return places | {number: words for number, words in self._progress.items() if number in running}

    def all_rounds(self) -> Sequence[Round]:
        return list(self._rounds.values())

    def round_of(self, number: int) -> Round | None:
        return self._rounds.get(number)

    @property
    def selected(self) -> Round | None:
        number = self.table.selected_number
        return self._rounds.get(number) if number is not None else None

    @property
    def tabled(self) -> list[Round]:
        """The marked rounds or, if none is, those that are shown."""
        return self.marked or list(self.table.arrangement.shown)

    @property
    def targets(self) -> list[Round]:
        """The marked rounds, whether they are shown or not; the one under the cursor if none is."""
        return self.marked or super().targets

    def action_remove(self) -> None:
        """Ask first where that takes rounds which are marked and out of sight."""
        shown = {round_.number for round_ in self.table.arrangement.shown}
        hidden = [round_ for round_ in self.marked if round_.number not in shown]
        if not hidden:
            super().action_remove()
            return

        def answered(yes: bool | None) -> None:
            if yes:
                super(RoundsScreen, self).action_remove()

        question = f"{named(hidden)} marked and hidden by the filter. Delete all {len(self.marked)} that are marked?"
        self.app.push_screen(ConfirmScreen(question[0].upper() + question[1:], "Delete"), answered)

    @on(RoundTable.Highlighted)
    def _show_detail(self) -> None:
        self._tell_detail()
        self._read_later()
        self.call_after_refresh(self._hold_detail)
        self.allow()

    def _tell_detail(self) -> None:
        round_ = self.selected
        apart_from = self.table.apart_from(round_) if round_ is not None else None
        evaluations = self._evaluations.get(round_.id, ()) if round_ is not None else ()
        rate = self.preferences.get(round_.id) if round_ is not None else None
        self.query_one(RoundDetail).show(round_, self._rounds, apart_from, evaluations, rate)

    def _read_later(self) -> None:
        """Read what lies beside the round's run once the cursor rests on it."""
        if self._reading is not None:
            self._reading.stop()
        if self.selected is not None and self.selected.result.adapter_dir is not None:
            self._reading = self.set_timer(RESTING_SECONDS, partial(self._read_evaluations, self.selected.id))

    @work(thread=True, exclusive=True, group="evaluations")
    def _read_evaluations(self, id: str) -> None:
        self.post_message(EvaluationsRead(id, read_evaluations(self.cockpit.workspace.run_dir(id))))

    @on(EvaluationsRead)
    def _show_evaluations(self, event: EvaluationsRead) -> None:
        if event.evaluations != self._evaluations.get(event.id, []):
            self._evaluations[event.id] = event.evaluations
            self._tell_detail()
            self.call_after_refresh(self._hold_detail)

    def _hold_detail(self) -> None:
        """Keep the height that a round needed, so that the table does not grow and shrink as the cursor moves."""
        detail = self.query_one(RoundDetail)
        height = min(detail.outer_size.height, STEADY_LINES)
        if height > self._detail_lines:
            self._detail_lines = height
            detail.styles.min_height = height

    @on(PreferencesRead)
    def _show_preferences(self, event: PreferencesRead) -> None:
        if event.rates != self.preferences:
            self.preferences = event.rates
            self._tell_detail()
            self.call_after_refresh(self._hold_detail)

    def on_resize(self) -> None:
        """Another width needs another height."""
        self._detail_lines = 0
        self.query_one(RoundDetail).styles.min_height = None

    @on(RoundTable.Selected)
    def _open(self) -> None:
        self.action_open()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("export", "lineage", "filter", "columns") and not self._rounds:
            return None
        if action == "compare":
            return True if len(self._rounds) > 1 else None
        return super().check_action(action, parameters)

    def action_new(self) -> None:
        self.post_message(NewRoundWanted(self.selected))

    def action_queue(self) -> None:
        screen = QueueScreen(self.cockpit, list(self._rounds.values()))
        screen.undoable = self.undoable
        self.go_on_to(screen)

    @property
    def marked(self) -> list[Round]:
        """The rounds marked, by number."""
        return [self._rounds[number] for number in self.table.marked]

    def action_compare(self) -> None:
        """The marked rounds side by side, or the selected one with the one it came from."""
        from tui.screens.compare.screen import CompareScreen

        rounds = self.marked
        if not rounds and self.selected is not None:
            parent = self._rounds.get(self.selected.parent) if self.selected.parent is not None else None
            if parent is None:
                self.notify("mark the rounds to compare with space", markup=False)
                return
            rounds = [parent, self.selected]
        try:
            check_count(rounds)
        except RoundError as error:
            self.notify(clean(error.message), severity="warning", markup=False)
            return
        self.go_on_to(CompareScreen(self.cockpit, rounds))

    def action_lineage(self) -> None:
        from tui.screens.compare.lineage_screen import LineageScreen

        if self.selected is not None:
            self.go_on_to(LineageScreen(self.cockpit, list(self._rounds.values()), self.selected.number))

    def action_export(self) -> None:
        """Write down the marked rounds or, if none is, those that are shown; asking before a file is replaced."""
        path = self.cockpit.workspace.root / EXPORT_NAME
        rounds = self.tabled
        if not path.exists():
            self._export(rounds)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._export(rounds)

        self.app.push_screen(ConfirmScreen(f"{path} is there already. Write it anew?", "Overwrite"), answered)

    @work(thread=True, exclusive=True, group="export")
    def _export(self, rounds: Sequence[Round]) -> None:
        path = self.cockpit.workspace.root / EXPORT_NAME
        left_out = len(self._rounds) - len(rounds)
        try:
            write_export(path, to_markdown(rounds))
            of = f" of {len(rounds)} of {len(self._rounds)} rounds" if left_out else ""
            self.post_message(ActionDone(f"the comparison{of} is in {path}"))
        except OSError as error:
            self.post_message(ActionFailed(LoratuiError(f"{path} could not be written: {error.strerror}")))


def _how_far(run: RunProgress) -> str:
    """The share of its steps, or how many, as far as either is known."""
    if run.step is None:
        return ""
    return f"{100 * run.step // run.total_steps} %" if run.total_steps else f"step {run.step}"

"""A sweep while it goes on: its answer so far, the best perplexity, its settings, and what runs now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.sweeps.answer import SweepAnswer, answer_of
from engine.sweeps.progress import Progress
from engine.sweeps.space import short_name
from engine.text.humanize import format_duration
from tui.messages import ActionDone, RunWanted, SweepAnswered, SweepsRead
from tui.pollers import follow_sweeps
from tui.screens.dialogs.confirm import confirm
from tui.screens.sweep.best_chart import BestChart
from tui.screens.sweep.table import SettingTable
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean_line
from tui.views.activity import progress_words
from tui.views.sweep import best_so_far, now_in_words, settings_in_words
from tui.widgets.key_footer import KeyFooter

READING_TEXT = "Reading the sweeps …"
EMPTY_TEXT = (
    "There is no sweep yet. A sweep puts one question to many rounds, such as which rank is best:\n\n"
    "loratui sweep new --preset nano --set lora.r=8,16,32"
)
COMPARING_TEXT = "comparing the settings …"


class SweepScreen(WorkspaceScreen):
    """One sweep, with keys to the others. What came of it is read in a thread, again after each change."""

    # Textual writes `ClassVar[...] | None`, which mypy takes for an attribute of instances.
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-narrow"), (120, "-wide")]  # type: ignore[misc]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "x", "stop", "Stop", id="sweep.stop",
            tooltip="Begin no further round of this sweep; what trains goes on to its end",
        ),
        Binding("r", "resume", "Resume", tooltip="Go on with a sweep that was stopped", id="sweep.resume"),
        Binding("u", "queue", "Queue", tooltip="Show what runs and what waits, and change the order", id="sweep.queue"),
        Binding("J", "other(1)", "Next sweep", tooltip="To the next sweep", id="sweep.next"),
        Binding("K", "other(-1)", "Sweep before", show=False, tooltip="To the sweep before it", id="sweep.before"),
        Binding("escape,W", "app.pop_screen", "Back", tooltip="Back to the table of rounds", id="sweep.back"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    SweepScreen {
        #sweep-ranges { height: auto; max-height: 2; padding: 0 1; color: $text-muted; }
        #sweep-body { height: auto; layout: vertical; }
        #sweep-answer-pane { height: auto; max-height: 5; padding: 0 1; }
        #sweep-answer { height: auto; }
        #sweep-best { height: 8; }
        #sweep-now { height: auto; max-height: 2; padding: 0 1; color: $text-primary; }
        #sweep-settings { min-height: 4; border-top: solid $primary; }
        &.-wide #sweep-body { layout: horizontal; height: 10; }
        &.-wide #sweep-answer-pane { width: 1fr; max-height: 100%; }
        &.-wide #sweep-best { width: 1fr; height: 100%; }
        &.-low #sweep-best, &.-unfinished #sweep-best { display: none; }
        &.-unfinished #sweep-body { height: auto; }
        &.-empty #sweep-ranges, &.-empty #sweep-body, &.-empty #sweep-settings, &.-empty #sweep-now { display: none; }
    }
    """

    def __init__(
        self,
        cockpit: Cockpit,
        number: int | None,
        progress: Mapping[int, RunProgress],
        open_queue: Callable[[], None],
    ) -> None:
        """Show the sweep `number`, or the newest one if there is no such sweep.

        Args:
            progress: that of the running rounds, by number.
            open_queue: opens the queue above this screen.
        """
        super().__init__(cockpit)
        self._number = number
        self._open_queue = open_queue
        self._sweeps: Sequence[Progress] = ()
        self._is_read = False
        self._answer: SweepAnswer | None = None
        self._compared: object = None  # the sweep and the losses that the answer is about
        self._shares: dict[int, str] = {}
        self._take_progress(progress)

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield Static(id="sweep-ranges", markup=False)
        with Container(id="sweep-body"):
            with VerticalScroll(id="sweep-answer-pane", can_focus=False):
                yield Static(id="sweep-answer", markup=False)
            yield BestChart(id="sweep-best")
        yield SettingTable(id="sweep-settings")
        yield Static(id="sweep-now", markup=False)
        yield Static(READING_TEXT, id="empty", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self._show()
        self._follow()

    @work(thread=True, exclusive=True, group="sweeps")
    def _follow(self) -> None:
        follow_sweeps(self.cockpit, self.post_message)

    @on(SweepsRead)
    def _take_sweeps(self, event: SweepsRead) -> None:
        self._sweeps, self._is_read = event.sweeps, True
        self._show()

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        self._take_progress(progress)
        if self.is_mounted:
            self._show_settings()

    def _take_progress(self, progress: Mapping[int, RunProgress]) -> None:
        self._shares = {number: words for number, run in progress.items() if (words := progress_words(run))}

    @property
    def sweep(self) -> Progress | None:
        """The sweep that is shown; None if there is none."""
        numbered = (each for each in self._sweeps if each.sweep.number == self._number)
        return next(numbered, self._sweeps[-1] if self._sweeps else None)

    def _show(self) -> None:
        """Show the sweep as it was last read."""
        sweep = self.sweep
        self.set_class(sweep is None, "-empty")
        empty = self.query_one("#empty", Static)
        empty.display = sweep is None
        empty.update(EMPTY_TEXT if self._is_read else READING_TEXT)
        if sweep is None:
            self.query_one("#title", Static).update(Content.styled("Sweep", "bold"))
        else:
            self._number = sweep.sweep.number
            self._show_title(sweep)
            self._show_ranges(sweep)
            self._compare_if_changed(sweep)
            self._show_answer()
            self._show_settings()
            perplexities = best_so_far(sweep)
            self.set_class(not perplexities, "-unfinished")
            self.query_one(BestChart).show(perplexities)
        self.refresh_bindings()

    def _show_title(self, sweep: Progress) -> None:
        facts = [sweep.status, f"{settings_in_words(sweep)} settings", f"{format_duration(sweep.seconds)} trained"]
        parts = [" · ".join(facts), clean_line(sweep.sweep.name)]  # a long name is cut, and nothing else with it
        head = f"Sweep {sweep.sweep.number}", "bold"
        self.query_one("#title", Static).update(Content.assemble(head, *(f"   {part}" for part in parts if part)))

    def _show_ranges(self, sweep: Progress) -> None:
        ranges = [clean_line(f"{short_name(key)} {text}") for key, text in sweep.sweep.ranges.items()]
        parts = filter(None, (*ranges, f"sampler {sweep.sweep.sampler}", clean_line(sweep.sweep.note)))
        self.query_one("#sweep-ranges", Static).update(Content(" · ".join(parts)))

    def _show_settings(self) -> None:
        if (sweep := self.sweep) is not None:
            self.query_one(SettingTable).show(sweep, self._answer, self._shares)
            self.query_one("#sweep-now", Static).update(Content(clean_line(now_in_words(sweep, self._shares))))

    def _show_answer(self) -> None:
        sentences = [COMPARING_TEXT] if self._answer is None else map(clean_line, self._answer.sentences)
        self.query_one("#sweep-answer", Static).update(Content("\n".join(sentences)))

    def _compare_if_changed(self, sweep: Progress) -> None:
        """Compare the settings again if another sweep is shown or a result changed."""
        if (compared := _compared_of(sweep)) != self._compared:
            self._compared, self._answer = compared, None
            self._compare(sweep)

    @work(thread=True, exclusive=True, group="answer")
    def _compare(self, sweep: Progress) -> None:
        self.post_message(SweepAnswered(sweep, answer_of(self.cockpit.workspace, sweep)))

    @on(SweepAnswered)
    def _take_answer(self, event: SweepAnswered) -> None:
        if _compared_of(event.progress) == self._compared:
            self._answer = event.answer
            self._show_answer()
            self._show_settings()

    @on(SettingTable.Highlighted)
    def _refresh_footer(self) -> None:
        self.refresh_bindings()

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if reason := super().why_not(action, parameters):
            return reason
        sweep = self.sweep
        if action in ("stop", "resume") and sweep is None:
            return "there is no sweep"
        if action == "stop" and sweep is not None and sweep.status != "running":
            return f"sweep {sweep.sweep.number} is {sweep.status}: only one that runs can be stopped"
        if action == "resume" and sweep is not None and sweep.sweep.stopped is None:
            return f"sweep {sweep.sweep.number} is {sweep.status}: only one that was stopped can be resumed"
        if action == "other" and len(self._sweeps) < 2:
            return "there is no other sweep"
        return ""

    # What the keys do

    @on(SettingTable.Selected)
    def _open(self) -> None:
        setting = self.query_one(SettingTable).selected
        if setting is not None and setting.rounds:
            self.post_message(RunWanted(setting.rounds[-1]))

    def action_queue(self) -> None:
        self._open_queue()

    def action_other(self, by: int) -> None:
        numbers = [each.sweep.number for each in self._sweeps]
        if self._number in numbers:
            self._number = numbers[(numbers.index(self._number) + by) % len(numbers)]
            self._show()

    def action_stop(self) -> None:
        """Ask whether to stop the sweep, and stop it."""
        if (sweep := self.sweep) is None:
            return
        number = sweep.sweep.number
        effect = "Rounds that wait are held; what trains goes on to its end."

        def stop() -> None:
            self.carry_out(
                lambda: self.cockpit.sweeps.stop(number), lambda each: ActionDone(f"sweep {number} is {each.status}")
            )

        confirm(self.app, f"Stop sweep {number}? {effect}", "Stop", stop)

    def action_resume(self) -> None:
        if (sweep := self.sweep) is not None:
            number = sweep.sweep.number
            self.carry_out(
                lambda: self.cockpit.sweeps.resume(number), lambda each: ActionDone(f"sweep {number} is {each.status}")
            )


def _compared_of(sweep: Progress) -> object:
    """Return all on which the answer of a sweep depends."""
    rounds = [(round_.id, round_.result) for setting in sweep.settings for round_ in setting.rounds]
    return sweep.sweep.number, [each.loss for each in sweep.settings], rounds

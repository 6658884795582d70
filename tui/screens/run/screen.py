"""One run, while it trains or afterwards: progress, curve, figures, machine and log, or its sample answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.runs.disk_forecast import shortage
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import ACTIVE, STOPPABLE, Round
from tui.messages import MachineSampled, RunAdvanced
from tui.pollers import follow_machine, follow_run
from tui.screens.run.figures import RunFigures, RunHeader
from tui.screens.run.log_pane import LogPane
from tui.screens.run.log_view import LogView
from tui.screens.run.machine_panel import MachinePanel
from tui.screens.run.sample_pane import SamplePane
from tui.screens.run.strip import RunStrip, reachable
from tui.screens.workspace_screen import WorkspaceScreen
from tui.widgets.chart.chart import CurveChart, Series
from tui.widgets.key_footer import KeyFooter

CLOCK_SECONDS = 1.0
LOG_ACTIONS = ("search", "next_match", "wrap", "follow")


class LiveScreen(WorkspaceScreen):
    """The run of one round, with keys to the others that run or wait; it shows the whole curve even if opened late.

    It is drawn at most once a second, however fast the steps come.
    """

    AUTO_FOCUS = "CurveChart"
    ALLOW_IN_MAXIMIZED_VIEW = "Banner, MessageLine, RunHeader, KeyFooter"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "back", "Back", tooltip="Go one step back; training goes on", id="live.back"),
        Binding("tab", "app.focus_next", "Pane", tooltip="To the next pane: curve, machine, log", id="live.pane"),
        Binding("f", "full", "Full screen", tooltip="Show only this pane, or all of them", id="live.full"),
        Binding("s", "samples", "Samples", tooltip="Show the sample answers, or the curve", id="live.samples"),
        Binding("x", "stop", "Stop", tooltip="Stop this round; adapter and checkpoint are kept", id="live.stop"),
        Binding("y", "copy", "Copy", show=False, tooltip="Copy a path, the --set line, or the table", id="live.copy"),
        Binding("J", "other(1)", "Next round", tooltip="To the next round that runs or is queued", id="live.next"),
        Binding("K", "other(-1)", "Round before", show=False, tooltip="To the round before it", id="live.before"),
        Binding("slash", "search", "Search log", tooltip="Find a text in the log", id="log.search"),
        Binding("n", "next_match(1)", "Next match", show=False, tooltip="To the next match in the log", id="log.next"),
        Binding("N", "next_match(-1)", "Match before", show=False, tooltip="To the match before it", id="log.before"),
        Binding(
            "w", "wrap", "Wrap", show=False, tooltip="Wrap the long lines of the log; again: do not", id="log.wrap"
        ),
        Binding("F", "follow", "Follow", show=False, tooltip="Go to the log's end and stay there", id="log.follow"),
    ]

    def __init__(self, cockpit: Cockpit, round_: Round) -> None:
        super().__init__(cockpit)
        self.round = round_
        self.run = RunSnapshot()
        self._stored = round_
        self._rounds: Sequence[Round] = ()
        self._progress: Mapping[int, RunProgress] = {}
        self._shortage = ""

    def compose(self) -> ComposeResult:
        yield RunHeader(id="run-header")
        yield RunStrip(id="run-strip")
        with Horizontal(id="run-body"):
            yield CurveChart(id="chart")
            yield RunFigures(id="figures")
        yield MachinePanel(id="machine")
        yield LogPane(id="log")
        yield SamplePane(id="samples")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one("#machine").border_title = "this machine"
        self.query_one("#samples").border_title = "answers to held-out prompts"
        self.show_rounds(self._rounds)
        self.show_progress(self._progress)
        self._clock = self.set_interval(CLOCK_SECONDS, self._tick)
        self._show()
        self._follow_run()
        self._follow_machine()

    @work(thread=True, exclusive=True, group="run")
    def _follow_run(self) -> None:
        first, run = self.round, self.run
        follow_run(self.cockpit, lambda: self._stored if self._stored.id == first.id else first, run, self.post_message)

    @work(thread=True, exclusive=True, group="machine")
    def _follow_machine(self) -> None:
        follow_machine(self.cockpit, lambda: (self._stored, self.run), self.post_message)

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """Take the rounds of the changed store; a new status waits for the events that led to it."""
        self._rounds = rounds
        self._stored = next((round_ for round_ in rounds if round_.id == self.round.id), self._stored)
        for strip in self.query(RunStrip):
            strip.show_rounds(rounds, self.round.number)
            self.refresh_bindings()

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        """Update only the strip: the round on the screen is followed more closely."""
        self._progress = progress
        for strip in self.query(RunStrip):
            strip.show_progress(progress)

    @on(RunAdvanced)
    def _advance(self, event: RunAdvanced) -> None:
        if event.round.id != self.round.id or event.run not in (None, self.run):
            return  # it is of the round that was shown before
        for run_event in event.events:
            self.run.apply(run_event)
        self.query_one(LogView).feed(event.log)
        if event.round != self.round:
            self.round = event.round
            self.refresh_bindings()
        self._show()

    @on(MachineSampled)
    def _show_machine(self, event: MachineSampled) -> None:
        self.query_one(MachinePanel).show(event.sample, event.share, event.at)
        others = [other.disk_need for number, other in self._progress.items() if number != self.round.number]
        needs = [need for need in (event.share.disk_need, *others) if need is not None]
        self._shortage = shortage(needs, event.share.disk_free, self.cockpit.workspace.root)

    def _show(self) -> None:
        self._tick()
        self._clock.reset()
        self.query_one(RunFigures).show(self.round, self.run)
        total = self.run.prepared.total_steps if self.run.prepared else self.round.plan.total_steps
        series = Series(f"round {self.round.number}", self.run.curve, self.run.evaluations)
        self.query_one(CurveChart).show([series], total)
        self.query_one(SamplePane).show(self.round, self.run.samples)

    def on_resize(self) -> None:
        """Show as much as fits now."""
        self.call_after_refresh(self._show)

    def _tick(self) -> None:
        """Update only the header, as time passes between two steps too."""
        warnings = [self._shortage] if self._shortage else []
        self.query_one(RunHeader).show(self.round, self.run, self._elapsed(), warnings)

    def _elapsed(self) -> float | None:
        """Return the seconds from the start of the run to its last event, or until now."""
        if self.run.started is None:
            return None
        ended = self.run.ending is not None or self.round.status not in ACTIVE
        end = self.run.last_time if ended and self.run.last_time is not None else time.time()
        return max(0.0, end - self.run.started.time)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if reason := super().why_not(action, parameters):
            return reason
        if action == "stop" and self.round.status not in STOPPABLE:
            return f"round {self.round.number} is {self.round.status}: only a round that runs or waits can be stopped"
        if action == "other" and all(round_.id == self.round.id for round_ in reachable(self._rounds)):
            return "no other round runs or is queued"
        if action in LOG_ACTIONS and self.is_mounted:
            pane = self.query_one(LogPane)
            if not pane.display:
                return "the log is not shown: {live.samples} shows it again"
            if action == "next_match" and not pane.searching:
                return "there is no search: {log.search} searches the log"
        return ""

    def action_back(self) -> None:
        """Leave the full screen, the search or the samples, or else go back to the table."""
        if self.maximized is not None:
            self.minimize()
        elif self.query_one(LogPane).searching:
            self.query_one(LogPane).forget_search()
        elif self.has_class("-samples"):
            self.action_samples()
        else:
            self.app.pop_screen()

    def action_full(self) -> None:
        """Show only the pane that has the focus, or all of them again."""
        if self.maximized is not None:
            self.minimize()
        elif self.focused is not None:
            pane = next((node for node in self.focused.ancestors_with_self if isinstance(node, LogPane)), self.focused)
            self.maximize(pane, container=False)

    def action_samples(self) -> None:
        """Show the sample answers in place of curve, machine and log, or these again."""
        self.minimize()
        self.toggle_class("-samples")
        self.query_one("#samples" if self.has_class("-samples") else "#chart").focus()
        self.refresh_bindings()

    def action_other(self, by: int) -> None:
        """Go to another round that runs or is queued, in the order of the strip."""
        rounds = reachable(self._rounds)
        if not rounds:
            return
        places = [place for place, round_ in enumerate(rounds) if round_.id == self.round.id]
        place = (places[0] + by) % len(rounds) if places else (0 if by > 0 else len(rounds) - 1)
        self._go_to(rounds[place])

    @on(RunStrip.RoundClicked)
    def _take_clicked(self, event: RunStrip.RoundClicked) -> None:
        self._go_to(event.round)

    def _go_to(self, round_: Round) -> None:
        """Show another round's run from its beginning, in the same panes."""
        if round_.id == self.round.id:
            return
        self.round = self._stored = round_
        self.run = RunSnapshot()
        self._shortage = ""
        self.query_one(LogView).clear()
        self.query_one(RunStrip).show_rounds(self._rounds, round_.number)
        self._show()
        self._follow_run()
        self.refresh_bindings()

    async def action_search(self) -> None:
        self.query_one(LogPane).ask(await self.begin_draft("search in the log"))

    def action_next_match(self, by: int) -> None:
        self.query_one(LogView).next_match(by)

    def action_wrap(self) -> None:
        self.query_one(LogView).wrap()

    def action_follow(self) -> None:
        self.query_one(LogView).follow()

    def action_copy(self) -> None:
        self.offer_copies(self.round, self._rounds)

    def action_stop(self) -> None:
        self.ask_to_stop(self.round)

"""A run as it goes, or as it went: progress, curve, figures, the machine, and the log, or else its sample answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from engine.operations import Cockpit
from engine.rounds import ACTIVE, STOPPABLE, Round
from engine.snapshot import RunSnapshot
from tui.follower import follow_machine, follow_run
from tui.messages import MachineSampled, RunAdvanced
from tui.screens.cockpit_screen import CockpitScreen
from tui.widgets.curve_chart import CurveChart, Series
from tui.widgets.key_footer import KeyFooter
from tui.widgets.log_pane import LogPane
from tui.widgets.machine_panel import MachinePanel
from tui.widgets.run_figures import RunFigures, RunHeader
from tui.widgets.sample_pane import SamplePane

CLOCK_SECONDS = 1.0


class LiveScreen(CockpitScreen):
    """One round's run. Opening it late shows the whole curve all the same."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape,backspace", "app.pop_screen", "Back", tooltip="Back to the table; training goes on", id="live.back"
        ),
        Binding("s", "samples", "Samples", tooltip="The sample answers, and back to the curve", id="live.samples"),
        Binding("x", "stop", "Stop", tooltip="Stop this round; adapter and checkpoint are kept", id="live.stop"),
    ]

    def __init__(self, cockpit: Cockpit, round_: Round) -> None:
        super().__init__(cockpit)
        self.round = round_
        self._stored = round_
        self.run = RunSnapshot()

    def compose(self) -> ComposeResult:
        yield RunHeader(id="run-header")
        with Horizontal(id="run-body"):
            with Vertical(id="run-chart"):
                yield CurveChart(id="chart")
            yield RunFigures(id="figures")
        yield MachinePanel(id="machine")
        yield LogPane(id="log")
        yield SamplePane(id="samples")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one("#machine").border_title = "this machine"
        self.query_one("#log").border_title = "log"
        self.query_one("#samples").border_title = "answers to held-out prompts"
        self._show()
        self._follow_run()
        self._follow_machine()
        self.set_interval(CLOCK_SECONDS, self._tick)

    @work(thread=True, exclusive=True, group="run")
    def _follow_run(self) -> None:
        follow_run(self.cockpit, lambda: self._stored, self.post_message)

    @work(thread=True, exclusive=True, group="machine")
    def _follow_machine(self) -> None:
        follow_machine(self.post_message)

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """The store changed: a new status is shown together with the events that led to it."""
        self._stored = next((round_ for round_ in rounds if round_.id == self.round.id), self._stored)

    @on(RunAdvanced)
    def _advance(self, event: RunAdvanced) -> None:
        for item in event.events:
            self.run.apply(item)
        self.query_one(LogPane).add(event.lines)
        if event.round != self.round:
            self.round = event.round
            self.refresh_bindings()
        self._show()

    @on(MachineSampled)
    def _show_machine(self, event: MachineSampled) -> None:
        self.query_one(MachinePanel).show(event.sample)

    def _show(self) -> None:
        self._tick()
        self.query_one(RunFigures).show(self.round, self.run)
        total = self.run.prepared.total_steps if self.run.prepared else self.round.plan.total_steps
        series = Series(f"round {self.round.number}", self.run.curve, self.run.evaluations)
        self.query_one(CurveChart).show([series], total)
        self.query_one(SamplePane).show(self.round, self.run.samples)

    def _tick(self) -> None:
        """The header alone: elapsed time goes on between two steps."""
        self.query_one(RunHeader).show(self.round, self.run, self._elapsed())

    def _elapsed(self) -> float | None:
        """Seconds since the engine took the round up, until its last word."""
        if self.run.started is None:
            return None
        ended = self.run.ending is not None or self.round.status not in ACTIVE
        end = self.run.last_time if ended and self.run.last_time is not None else time.time()
        return max(0.0, end - self.run.started.time)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not super().check_action(action, parameters):
            return False
        return None if action == "stop" and self.round.status not in STOPPABLE else True

    def action_samples(self) -> None:
        """The sample answers in the place of curve, machine and log, or these again."""
        self.toggle_class("-samples")
        self.query_one("#samples" if self.has_class("-samples") else "#log").focus()

    def action_stop(self) -> None:
        self.ask_to_stop(self.round)

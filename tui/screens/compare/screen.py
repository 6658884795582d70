"""Rounds side by side: what differs between them, and their curves over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.api import Cockpit
from engine.compare.significance import verdicts
from engine.compare.verdict import Verdict
from engine.errors import LoratuiError
from engine.report.chart_client import Format
from engine.report.comparison_document import picture_beside, write_comparison
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Round, Status
from tui.messages import ActionDone, ActionFailed, RunAdvanced, VerdictsReached
from tui.pollers import follow_runs
from tui.screens.compare.remarks import remarks
from tui.screens.compare.table import CompareTable
from tui.screens.dialogs.confirm import confirm
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean_line
from tui.widgets.chart.chart import MARKS, CurveChart, Series
from tui.widgets.key_footer import KeyFooter
from tui.widgets.table.cursor_table import VirtualTable

ROWS_PER_VERDICT = 6  # of the screen, for each line with one


class CompareScreen(WorkspaceScreen):
    """Two to ten rounds. Their runs are read in a thread, and followed while they go on."""

    # Textual writes `ClassVar[...] | None`, which mypy takes for an attribute of instances.
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-narrow"), (150, "-wide")]  # type: ignore[misc]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "e",
            "export('svg')",
            "Export",
            tooltip="Write the comparison as Markdown, with a picture of the curves",
            id="compare.export",
        ),
        Binding(
            "E",
            "export('png')",
            "Export with a PNG",
            show=False,
            tooltip="Write the comparison as Markdown, with the curves as a PNG",
            id="compare.export_png",
        ),
        Binding("escape,c", "app.pop_screen", "Back", tooltip="Back to the table of rounds", id="compare.back"),
    ]
    DEFAULT_CSS = """
    CompareScreen {
        #compare-body { height: 1fr; }
        #compare-side { height: auto; max-height: 50%; }
        #compared { height: auto; max-height: 100%; }
        #compare-values { height: auto; max-height: 11; padding: 0 1; color: $text-muted; display: none; }
        #compare-notes { height: auto; padding: 1; display: none; }
        #curves { height: 1fr; border-top: solid $primary; }
        #remarks-pane { height: auto; max-height: 30%; padding: 0 1; }
        #remarks { height: auto; color: $text-muted; }
        &.-wide #compare-body { layout: horizontal; }
        &.-wide #compare-side { width: auto; max-width: 50%; height: 1fr; max-height: 100%; }
        &.-wide #compared { width: auto; max-width: 100%; }
        &.-wide #curves { width: 1fr; border-top: none; border-left: solid $primary; }
        &.-wide #compare-notes { display: block; }
        &.-curveless #curves { display: none; }
        &.-curveless #compare-side { height: 1fr; max-height: 100%; width: 1fr; }
    }
    """

    def __init__(self, cockpit: Cockpit, rounds: Sequence[Round]) -> None:
        super().__init__(cockpit)
        self.rounds = list(rounds)
        self._runs = {round_.id: RunSnapshot() for round_ in rounds}
        self._unread = {round_.id for round_ in rounds if round_.status is not Status.IMPORTED}
        self._verdicts: Sequence[Verdict] = ()
        self._judged: object = None
        self._to_show = False
        self._shown: object = None

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        with Container(id="compare-body"):
            with Container(id="compare-side"):
                yield CompareTable(id="compared")
                yield Static(id="compare-values", markup=False)
                yield Static(id="compare-notes", markup=False)
            yield CurveChart(id="curves")
        with VerticalScroll(id="remarks-pane", can_focus=False):
            yield Static(id="remarks", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self._show()
        self._judge()
        self._follow()

    def _judge(self) -> None:
        """Compute the verdicts again if a result changed."""
        results = [(round_.id, round_.result) for round_ in self.rounds]
        if results != self._judged:
            self._judged = results
            self._reach_verdicts(self.rounds)

    @work(thread=True, exclusive=True, group="verdicts")
    def _reach_verdicts(self, rounds: Sequence[Round]) -> None:
        self.post_message(VerdictsReached(rounds, verdicts(self.cockpit.workspace, rounds)))

    @on(VerdictsReached)
    def _show_verdicts(self, event: VerdictsReached) -> None:
        if [(round_.id, round_.result) for round_ in event.rounds] == self._judged:
            self._verdicts = event.verdicts
            self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    @work(thread=True, exclusive=True, group="runs")
    def _follow(self) -> None:
        follow_runs(self.cockpit, lambda: self.rounds, self.post_message)

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """Show the compared rounds as they are now; deleted ones stay as they were."""
        now = {round_.id: round_ for round_ in rounds}
        changed = [now.get(round_.id, round_) for round_ in self.rounds]
        if changed != self.rounds:
            self.rounds = changed
            self._show()
            self._judge()

    @on(RunAdvanced)
    def _advance(self, event: RunAdvanced) -> None:
        for run_event in event.events:
            self._runs[event.round.id].apply(run_event)
        self._unread.discard(event.round.id)
        if not self._to_show:  # what several runs report at once is drawn once
            self._to_show = True
            self.call_later(self._show)

    def _show(self) -> None:
        self._to_show = False
        with_data = [
            round_ for round_ in self.rounds if len(self._runs[round_.id].curve) or self._runs[round_.id].evaluations
        ]
        marks = [MARKS[with_data.index(round_) % len(MARKS)] if round_ in with_data else "" for round_ in self.rounds]
        table = self.query_one(CompareTable)
        curveless = not with_data and not self._unread
        beside = self.has_class("-wide") and not curveless
        room = self.size.width // 2 if beside else self.size.width
        state = self.rounds, marks, table.everything, room, self._verdicts
        if state != self._shown:
            self._shown = state
            table.show(self.rounds, marks, room, self._verdicts)
            table.styles.height = table.row_count + 1
            self._tell_rounds()
        self._remark([round_ for round_ in self.rounds if round_ not in with_data and round_.id not in self._unread])
        runs = [self._runs[round_.id] for round_ in with_data]
        labels = [f"round {round_.number}" for round_ in with_data]
        totals = [
            run.prepared.total_steps if run.prepared else round_.plan.total_steps or 0
            for round_, run in zip(with_data, runs, strict=True)
        ]
        series = [Series(label, run.curve, run.evaluations) for label, run in zip(labels, runs, strict=True)]
        self.query_one(CurveChart).show(series, max(totals, default=0) or None)
        self.set_class(curveless, "-curveless")
        self.refresh_bindings()

    def _tell_rounds(self) -> None:
        table = self.query_one(CompareTable)
        same = f"{table.same} are the same" + ("" if table.everything else ": = shows them")
        title = f"   {len(self.rounds)} rounds   {table.differing} fields differ, {same}"
        self.query_one("#title", Static).update(Content.assemble(("Compare", "bold"), title))
        notes = [
            Content.assemble((f"{round_.number}  ", "bold"), clean_line(round_.note))
            for round_ in self.rounds
            if round_.note
        ]
        self.query_one("#compare-notes", Static).update(Content("\n").join(notes))

    def _remark(self, curveless: Sequence[Round]) -> None:
        lines = remarks(self.rounds, self._verdicts, curveless, self.size.height // ROWS_PER_VERDICT)
        self.query_one("#remarks-pane").display = bool(lines)
        self.query_one("#remarks", Static).update(Content("\n".join(lines)))

    @on(VirtualTable.Highlighted)
    def _show_values(self) -> None:
        values = self.query_one(CompareTable).cut_values()
        shown = self.query_one("#compare-values", Static)
        shown.display = values is not None
        if values is not None:
            shown.update(values)

    def action_everything(self) -> None:
        table = self.query_one(CompareTable)
        table.everything = not table.everything
        self._show()

    def action_metric(self, by: int) -> None:
        self.query_one(CurveChart).action_metric(by)

    def action_full(self) -> None:
        chart = self.query_one(CurveChart)
        chart.focus()
        chart.action_full()

    def action_export(self, format_: Format) -> None:
        """Write the comparison and its picture into the workspace; ask before a file is replaced."""
        numbers = "-".join(str(round_.number) for round_ in self.rounds)
        path = self.cockpit.workspace.root / f"comparison-{numbers}.md"
        existing = [file.name for file in (path, picture_beside(path, format_)) if file.exists()]
        if not existing:
            self._export(path, format_)
            return
        exist, them = ("exist", "them") if len(existing) > 1 else ("exists", "it")
        question = f"{' and '.join(existing)} {exist}. Overwrite {them}?"
        confirm(self.app, question, "Overwrite", lambda: self._export(path, format_))

    @work(thread=True, exclusive=True, group="export")
    def _export(self, path: Path, format_: Format) -> None:
        try:
            picture = write_comparison(self.cockpit.workspace, self.rounds, path, format_)
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        beside = f", its picture in {picture.name}" if picture is not None else ""
        self.post_message(ActionDone(f"the comparison is in {path}{beside}"))

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if action in ("metric", "full") and self.has_class("-curveless"):
            return "none of these rounds has a curve"
        return super().why_not(action, parameters)

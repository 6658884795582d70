"""The first screen: the table of rounds, and the details of the round under the cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import ScreenResume

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.compare.extra_evaluations import read_evaluations
from engine.errors import LoratuiError
from engine.spec.round import Round
from tui.messages import EvaluationsRead, NewRoundWanted, PreferencesRead
from tui.pollers import follow_store
from tui.screens.chat.open import open_chat
from tui.screens.compare.open import open_comparison
from tui.screens.preference.open import open_blind_test, read_preferences
from tui.screens.rounds.annotate import Annotated, Annotations
from tui.screens.rounds.arrange import FILTER, TableControls
from tui.screens.rounds.contents import RoundsContents
from tui.screens.rounds.detail import RoundDetail
from tui.screens.rounds.editor_line import EditorLine
from tui.screens.rounds.export import export_rounds
from tui.screens.rounds.queue_screen import QueueScreen
from tui.screens.rounds.selection import SelectedRoundsScreen
from tui.screens.rounds.table import RoundTable
from tui.screens.sweep.open import open_sweep
from tui.widgets.key_footer import KeyFooter
from tui.widgets.line_editor import LineEditor

FIRST_KEYS = (
    "table.open", "rounds.new", "rounds.filter", "rounds.sort", "rounds.mark", "rounds.compare", "rounds.talk",
    "round.stop", "rounds.note", "rounds.queue", "rounds.lineage", "app.quit",
)  # fmt: skip
FOR_ROUNDS = frozenset(
    {"open", "stop", "resume", "hold", "copy", "remove", "edit", "pin", "filter", "columns", "blind_test", "chat"}
    | {"export", "compare", "lineage"}
)  # actions that need a round


class RoundsScreen(SelectedRoundsScreen):
    """Every round of the workspace; a filter, name, note or tags are typed into `line`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "edit('note')", "Note", tooltip="Edit the note of the selected round", id="rounds.note"),
        Binding(
            "R", "edit('name')", "Rename", show=False, tooltip="Rename the selected round", id="rounds.rename"
        ),
        Binding(
            "number_sign", "edit('tags')", "Tags", show=False, id="rounds.tags",
            tooltip="Edit the tags of the selected round: words separated by spaces",
        ),
        Binding(
            "p", "pin", "Pin", show=False, id="rounds.pin",
            tooltip="Keep the marked rounds, or the selected one, on top; again: unpin them",
        ),
        Binding(
            "slash", "filter", "Filter", id="rounds.filter",
            tooltip="Show only rounds that match, as you type: ppl<3.3 r=16 -tag=best status:failed or word",
        ),
        Binding(
            "v", "columns", "Columns", show=False, id="rounds.columns",
            tooltip="Choose which columns are shown, and in which order",
        ),
        Binding(
            "escape", "back", "Back", show=False, id="rounds.back",
            tooltip="Clear the filter; then the marks; then groups and order",
        ),
        Binding(
            "b", "blind_test", "Blind test", show=False, id="rounds.judge",
            tooltip="Choose the better of two answers without knowing whose they are: "
            "of two marked rounds, or of this one and its base model",
        ),
        Binding(
            "t", "chat", "Chat", tooltip="Chat with the adapters of the marked rounds, or of this one", id="rounds.talk"
        ),
        Binding("n", "new", "New", tooltip="Start a new round from a preset or the selected round", id="rounds.new"),
        Binding(
            "e", "export", "Export", id="rounds.export",
            tooltip="Write the marked rounds, or those shown, to a Markdown file",
        ),
        Binding(
            "u", "queue", "Queue", tooltip="Show what runs and what waits, and change the order", id="rounds.queue"
        ),
        Binding(
            "W", "sweep", "Sweep", show=False, id="rounds.sweep",
            tooltip="Show the sweep of the selected round, or the newest: its settings, and what they say",
        ),
        Binding(
            "c", "compare", "Compare", id="rounds.compare",
            tooltip="Show the marked rounds side by side, or this one and its parent",
        ),
        Binding(
            "a", "lineage", "Ancestry", id="rounds.lineage",
            tooltip="Show which round was started from which, and how the results changed",
        ),
    ]  # fmt: skip

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__(cockpit)
        self.line = EditorLine(self, lambda: self._contents.table.focus())
        self._contents = RoundsContents(self)
        self._progress: Mapping[int, RunProgress] = {}
        self._annotations = Annotations(self, self.line, lambda number: self._contents.rounds.get(number))
        self._controls = TableControls(self, self.line)

    def compose(self) -> ComposeResult:
        yield from self._contents.compose()
        yield KeyFooter(FIRST_KEYS)

    def on_mount(self) -> None:
        self._follow_store()

    @work(thread=True, group="store")
    def _follow_store(self) -> None:
        """Read the store for all screens, through the app; started here because now there is a table to show it."""
        self._controls.recall_layout()
        follow_store(self.cockpit, self.app.post_message)

    # What is shown

    @property
    def unsaved(self) -> bool:
        return self.line.unsaved

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        self._contents.show_rounds(rounds)

    def select(self, number: int) -> None:
        """Put the cursor on a round when it is shown next; it may be new."""
        self._contents.selected_next = number

    def show_unreadable(self, error: LoratuiError) -> None:
        self._contents.show_unreadable(error)

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        self._progress = progress
        self._contents.show_progress(progress)

    @on(ScreenResume)
    def _resume(self) -> None:
        self._contents.refresh()
        read_preferences(self)

    @on(RoundTable.Rearranged)
    def _show_title(self) -> None:
        self._contents.show_title()

    @on(RoundTable.Highlighted)
    def _show_selected(self) -> None:
        self._contents.show_selected()

    @on(RoundDetail.Rested)
    @work(thread=True, exclusive=True, group="evaluations")
    def _read_evaluations(self, event: RoundDetail.Rested) -> None:
        self.post_message(EvaluationsRead(event.id, read_evaluations(self.cockpit.workspace.run_dir(event.id))))

    @on(EvaluationsRead)
    def _show_evaluations(self, event: EvaluationsRead) -> None:
        self._contents.detail.show_evaluations(event.id, event.evaluations)

    @on(PreferencesRead)
    def _show_preferences(self, event: PreferencesRead) -> None:
        self._contents.detail.show_preferences(event.rates)

    def on_resize(self) -> None:
        self._contents.detail.forget_height()

    # Which rounds the keys are for

    @property
    def selected(self) -> Round | None:
        return self._contents.selected

    @property
    def targets(self) -> list[Round]:
        """The marked rounds, including those that the filter hides; else the one under the cursor."""
        return self._contents.marked or super().targets

    @property
    def hidden_targets(self) -> list[Round]:
        shown = {round_.number for round_ in self._contents.shown}
        return [round_ for round_ in self._contents.marked if round_.number not in shown]

    @property
    def rounds_to_export(self) -> list[Round]:
        """The marked rounds, else those that are shown."""
        return self._contents.marked or list(self._contents.shown)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "filter" and self.line.has_focus:
            return False  # its key is typed into the line
        return super().check_action(action, parameters)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if not self._contents.is_read and action in FOR_ROUNDS:
            return "the rounds are still being read"
        if not self._contents.rounds and action in FOR_ROUNDS:
            return "there are no rounds yet: press {rounds.new} to start one"
        if action == "compare" and len(self._contents.rounds) < 2:
            return "there is only one round, and comparing takes two"
        if action in ("edit", "lineage") and self.selected is None:
            return "no round is selected"
        if action in ("pin", "chat", "blind_test") and not self.targets:
            return "no round is selected"
        return super().why_not(action, parameters)

    # What the keys do

    async def action_edit(self, field: str) -> None:
        if self.selected is not None:
            await self._annotations.edit(field, self.selected)

    def action_pin(self) -> None:
        self._annotations.pin(self.targets)

    @on(Annotated)
    def _after_saving(self, event: Annotated) -> None:
        self._annotations.after_saving(event)

    async def action_filter(self) -> None:
        await self._controls.open_filter()

    def action_columns(self) -> None:
        self._controls.choose_columns()

    def action_back(self) -> None:
        self._controls.go_back()

    @on(RoundTable.LayoutChanged)
    def _remember_layout(self, event: RoundTable.LayoutChanged) -> None:
        self._controls.remember_layout(event.layout)

    def _user_of(self, editor: LineEditor) -> Annotations | TableControls:
        return self._controls if editor.purpose == FILTER else self._annotations

    @on(LineEditor.Changed)
    def _line_changed(self, event: LineEditor.Changed) -> None:
        if event.editor.purpose == FILTER:
            self._controls.filter_while_typing(event.editor)

    @on(LineEditor.Submitted)
    def _line_submitted(self, event: LineEditor.Submitted) -> None:
        self._user_of(event.editor).submit(event.editor)

    @on(LineEditor.Cancelled)
    def _line_cancelled(self, event: LineEditor.Cancelled) -> None:
        self._user_of(event.editor).cancel()

    @on(RoundTable.Selected)
    def _open(self) -> None:
        self.action_open()

    def action_new(self) -> None:
        self.post_message(NewRoundWanted(self.selected))

    def action_queue(self) -> None:
        screen = QueueScreen(self.cockpit, list(self._contents.rounds.values()), self._progress)
        screen.undoable = self.undoable
        self.open_above(screen)

    def action_sweep(self) -> None:
        open_sweep(self, self.selected, self._progress, self.action_queue)

    def action_chat(self) -> None:
        open_chat(self, self.targets, lambda: list(self._contents.rounds.values()))

    def action_blind_test(self) -> None:
        open_blind_test(self, self.targets)

    def action_compare(self) -> None:
        """Compare the marked rounds, or the selected one with its parent."""
        rounds = self._contents.marked
        if not rounds and self.selected is not None and self.selected.parent in self._contents.rounds:
            rounds = [self._contents.rounds[self.selected.parent], self.selected]
        open_comparison(self, rounds)

    def action_lineage(self) -> None:
        from tui.screens.compare.lineage_screen import LineageScreen

        if self.selected is not None:
            self.open_above(LineageScreen(self.cockpit, list(self._contents.rounds.values()), self.selected.number))

    def action_export(self) -> None:
        export_rounds(self, self.rounds_to_export, len(self._contents.rounds))

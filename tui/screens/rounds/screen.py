"""The first screen: the table of rounds, and the details of the round under the cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import ScreenResume
from textual.widgets import Static

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.compare.extra_evaluations import read_evaluations
from engine.errors import LoratuiError
from engine.spec.round import ACTIVE, Round
from tui.messages import EvaluationsRead, NewRoundWanted, PreferencesRead
from tui.pollers import follow_store
from tui.screens.chat.open import open_chat
from tui.screens.compare.open import open_comparison
from tui.screens.preference.open import open_blind_test, read_preferences
from tui.screens.rounds.annotate import Annotated, Annotations
from tui.screens.rounds.arrange import FILTER, TableControls
from tui.screens.rounds.columns import progress_words, status_words
from tui.screens.rounds.detail import RoundDetail
from tui.screens.rounds.editor_line import EditorLine
from tui.screens.rounds.export import export_rounds
from tui.screens.rounds.queue_screen import QueueScreen
from tui.screens.rounds.selection import SelectedRoundsScreen
from tui.screens.rounds.table import RoundTable
from tui.screens.rounds.title import rounds_title
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
EMPTY_TEXT = "No rounds yet: press n to start one.\n\nThe preset nano trains on the CPU in a minute · ? shows every key"

READING_TEXT = "Reading the rounds …"


class RoundsScreen(SelectedRoundsScreen):
    """Every round of the workspace; a filter, name, note or tags are typed into `line`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "edit('note')", "Note", tooltip="Edit the note of the selected round", id="rounds.note"),
        Binding(
            "R", "edit('name')", "Rename", show=False, tooltip="Rename the selected round", id="rounds.rename"
        ),
        Binding(
            "number_sign", "edit('tags')", "Tags", show=False, id="rounds.tags",
            tooltip="Edit the tags of the selected round: words with spaces between",
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
        self.line = EditorLine(self, lambda: self.table.focus())
        self._annotations = Annotations(self, self.line, lambda number: self._rounds.get(number))
        self._controls = TableControls(self, self.line)
        self._rounds: dict[int, Round] = {}
        self._is_read = False  # the store, which on a slow disk takes a while
        self._error: LoratuiError | None = None
        self._progress: dict[int, str] = {}
        self._shown_once = False

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield RoundTable(id="rounds")
        yield Static(READING_TEXT, id="empty", markup=False)
        yield RoundDetail(id="round-detail")
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
    def table(self) -> RoundTable:
        return self.query_one(RoundTable)

    @property
    def unsaved(self) -> bool:
        return self.line.unsaved

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        self._error, self._is_read = None, True
        self._rounds = {round_.number: round_ for round_ in rounds}
        self._refresh_table()

    def show_unreadable(self, error: LoratuiError) -> None:
        """Show the error in the place of the table; a table that is already there stays."""
        if not self._rounds:
            self._error = error
            self._refresh_table()

    @on(ScreenResume)
    def _resume(self) -> None:
        self._refresh_table()
        read_preferences(self)

    def _refresh_table(self) -> None:
        """Show the rounds as they are now, unless another screen is on top or the app is about to end."""
        if not self.is_active or not self.query(RoundTable):
            return
        rounds = list(self._rounds.values())
        select = None
        if rounds and not self._shown_once:
            self._shown_once = True
            select = next((round_.number for round_ in rounds if round_.status in ACTIVE), rounds[-1].number)
        table = self.table
        table.show(rounds, status_words(rounds, self._progress), select)
        if rounds and not table.display:
            table.display = True
            if self.focused is None:
                table.focus()
        table.display = bool(rounds)
        self.query_one(RoundDetail).set_class(not rounds, "-empty")
        empty = self.query_one("#empty", Static)
        if self._error is not None:
            empty.update(Content.styled(self._error.title, "bold $text-error"))
        else:
            empty.update(EMPTY_TEXT if self._is_read else READING_TEXT)
        empty.display = not rounds
        self._show_title()
        self._show_selected()

    @on(RoundTable.Rearranged)
    def _show_title(self) -> None:
        table = self.table
        shown, marked = len(table.arrangement.shown), len(table.marked)
        rounds = self._rounds.values() if self._is_read else None
        title = rounds_title(rounds, table.view, shown, marked, self.cockpit.workspace.root)
        self.query_one("#title", Static).update(title)
        self.refresh_allowed()

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        self._progress = {number: words for number, run in progress.items() if (words := progress_words(run))}
        if self.is_active:
            self.table.show_progress(status_words(self._rounds.values(), self._progress))

    @on(RoundTable.Highlighted)
    def _show_selected(self) -> None:
        round_ = self.selected
        unlike = self.table.not_comparable_with(round_) if round_ is not None else None
        self.query_one(RoundDetail).show(round_, self._rounds, unlike)
        self.refresh_allowed()

    @on(RoundDetail.Rested)
    @work(thread=True, exclusive=True, group="evaluations")
    def _read_evaluations(self, event: RoundDetail.Rested) -> None:
        self.post_message(EvaluationsRead(event.id, read_evaluations(self.cockpit.workspace.run_dir(event.id))))

    @on(EvaluationsRead)
    def _show_evaluations(self, event: EvaluationsRead) -> None:
        self.query_one(RoundDetail).show_evaluations(event.id, event.evaluations)

    @on(PreferencesRead)
    def _show_preferences(self, event: PreferencesRead) -> None:
        self.query_one(RoundDetail).show_preferences(event.rates)

    def on_resize(self) -> None:
        self.query_one(RoundDetail).forget_height()

    # Which rounds the keys are for

    @property
    def selected(self) -> Round | None:
        number = self.table.selected_number
        return self._rounds.get(number) if number is not None else None

    @property
    def marked(self) -> list[Round]:
        """The marked rounds, by number."""
        return [self._rounds[number] for number in self.table.marked]

    @property
    def targets(self) -> list[Round]:
        """The marked rounds, including those that the filter hides; else the one under the cursor."""
        return self.marked or super().targets

    @property
    def hidden_targets(self) -> list[Round]:
        shown = {round_.number for round_ in self.table.arrangement.shown}
        return [round_ for round_ in self.marked if round_.number not in shown]

    @property
    def rounds_to_export(self) -> list[Round]:
        """The marked rounds, else those that are shown."""
        return self.marked or list(self.table.arrangement.shown)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "filter" and self.line.has_focus:
            return False  # its key is typed into the line
        return super().check_action(action, parameters)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if not self._is_read and action in FOR_ROUNDS:
            return "the rounds are still being read"
        if not self._rounds and action in FOR_ROUNDS:
            return "there are no rounds yet: press {rounds.new} to start one"
        if action == "compare" and len(self._rounds) < 2:
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
        screen = QueueScreen(self.cockpit, list(self._rounds.values()))
        screen.undoable = self.undoable
        self.open_above(screen)

    def action_chat(self) -> None:
        open_chat(self, self.targets, lambda: list(self._rounds.values()))

    def action_blind_test(self) -> None:
        open_blind_test(self, self.targets)

    def action_compare(self) -> None:
        """Compare the marked rounds, or the selected one with its parent."""
        rounds = self.marked
        if not rounds and self.selected is not None and self.selected.parent in self._rounds:
            rounds = [self._rounds[self.selected.parent], self.selected]
        open_comparison(self, rounds)

    def action_lineage(self) -> None:
        from tui.screens.compare.lineage_screen import LineageScreen

        if self.selected is not None:
            self.open_above(LineageScreen(self.cockpit, list(self._rounds.values()), self.selected.number))

    def action_export(self) -> None:
        export_rounds(self, self.rounds_to_export, len(self._rounds))

"""The contents of the first screen: title, table of rounds and details of one, or the reason why there is no table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from engine.alerts.run_monitor import RunProgress
from engine.errors import LoratuiError
from engine.spec.round import ACTIVE, Round
from tui.screens.rounds.columns import status_words
from tui.screens.rounds.detail import RoundDetail
from tui.screens.rounds.selection import SelectedRoundsScreen
from tui.screens.rounds.table import RoundTable
from tui.screens.rounds.title import rounds_title
from tui.views.activity import progress_words

EMPTY_TEXT = "No rounds yet: press n to start one.\n\nThe preset nano trains on the CPU in a minute · ? shows every key"
READING_TEXT = "Reading the rounds …"


class RoundsContents:
    """Shows on `screen` the rounds and their progress as they were last read.

    Attributes:
        rounds: by number.
        is_read: False until the store has been read, which on a slow disk takes a while.
    """

    def __init__(self, screen: SelectedRoundsScreen) -> None:
        self._screen = screen
        self.rounds: dict[int, Round] = {}
        self.is_read = False
        self._error: LoratuiError | None = None
        self._progress: dict[int, str] = {}
        self._shown_once = False
        self.selected_next: int | None = None  # the round that gets the cursor as soon as it is shown

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        yield Static(id="title", markup=False)
        yield RoundTable(id="rounds")
        yield Static(READING_TEXT, id="empty", markup=False)
        yield RoundDetail(id="round-detail")

    @property
    def table(self) -> RoundTable:
        return self._screen.query_one(RoundTable)

    @property
    def detail(self) -> RoundDetail:
        return self._screen.query_one(RoundDetail)

    @property
    def selected(self) -> Round | None:
        """The round under the cursor."""
        number = self.table.selected_number
        return self.rounds.get(number) if number is not None else None

    @property
    def marked(self) -> list[Round]:
        """The marked rounds, by number, including those that the filter hides."""
        return [self.rounds[number] for number in self.table.marked]

    @property
    def shown(self) -> Sequence[Round]:
        """The rounds that the filter leaves, in their order in the table."""
        return self.table.arrangement.shown

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """Show the rounds that were read."""
        self._error, self.is_read = None, True
        self.rounds = {round_.number: round_ for round_ in rounds}
        self.refresh()

    def show_unreadable(self, error: LoratuiError) -> None:
        """Show the error in the place of the table; a table that is already there stays."""
        if not self.rounds:
            self._error = error
            self.refresh()

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        """Show how far the running rounds are, behind their status."""
        self._progress = {number: words for number, run in progress.items() if (words := progress_words(run))}
        if self._screen.is_active:
            self.table.show_progress(status_words(self.rounds.values(), self._progress))

    def refresh(self) -> None:
        """Show the rounds as they are now, unless another screen is on top or the app is about to end."""
        if not self._screen.is_active or not self._screen.query(RoundTable):
            return
        rounds = list(self.rounds.values())
        if rounds and not self._shown_once:
            self._shown_once = True
            self.selected_next = next(
                (round_.number for round_ in rounds if round_.status in ACTIVE), rounds[-1].number
            )
        table = self.table
        select = self.selected_next if self.selected_next in self.rounds else None
        table.show(rounds, status_words(rounds, self._progress), select)
        if select is not None:
            self.selected_next = None
        if rounds and not table.display:
            table.display = True
            if self._screen.focused is None:
                table.focus()
        table.display = bool(rounds)
        self.detail.set_class(not rounds, "-empty")
        empty = self._screen.query_one("#empty", Static)
        if self._error is not None:
            empty.update(Content.styled(self._error.title, "bold $text-error"))
        else:
            empty.update(EMPTY_TEXT if self.is_read else READING_TEXT)
        empty.display = not rounds
        self.show_title()
        self.show_selected()

    def show_title(self) -> None:
        """Show how many rounds there are, and how many of them are shown and marked."""
        table = self.table
        rounds = self.rounds.values() if self.is_read else None
        root = self._screen.cockpit.workspace.root
        title = rounds_title(rounds, table.view, len(self.shown), len(table.marked), root)
        self._screen.query_one("#title", Static).update(title)
        self._screen.refresh_allowed()

    def show_selected(self) -> None:
        """Show the details of the round under the cursor."""
        round_ = self.selected
        unlike = self.table.not_comparable_with(round_) if round_ is not None else None
        self.detail.show(round_, self.rounds, unlike)
        self._screen.refresh_allowed()

"""The family of one round as a tree: each round under the one it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from engine.api import Cockpit
from engine.compare.columns import measured_text
from engine.compare.leaders import best_rounds
from engine.compare.lineage import Kin, family_of
from engine.errors import RoundError
from engine.spec.round import Round
from tui.messages import NewRoundWanted, RunWanted
from tui.screens.compare.lineage_tree import LineageTree
from tui.screens.workspace_screen import WorkspaceScreen
from tui.views.lineage import missing_round_commands
from tui.widgets.key_footer import KeyFooter


class LineageScreen(WorkspaceScreen):
    """The family of a round: what was changed from round to round, why, and how the result moved."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", tooltip="Start a new round from the selected one", id="lineage.new"),
        Binding(
            "y", "copy_missing", "Copy missing", id="lineage.copy",
            tooltip="Copy the commands that make the rounds missing before the selected one",
        ),
        Binding("escape,a", "app.pop_screen", "Back", tooltip="Back to the table of rounds", id="lineage.back"),
    ]  # fmt: skip

    def __init__(self, cockpit: Cockpit, rounds: Sequence[Round], number: int) -> None:
        super().__init__(cockpit)
        self._rounds = rounds
        self._number = number
        self._family: list[Kin] = []

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield LineageTree(id="lineage")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.show_rounds(self._rounds)

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """Show the family as it is now; if its round was deleted, that of another member."""
        view = self.query_one(LineageTree)
        selected = view.selected_number
        numbers = [self._number if selected is None else selected, *(kin.number for kin in self._family)]
        for number in numbers:
            try:
                self._family = family_of(rounds, number)
                break
            except RoundError:
                continue
        else:
            self._family = []
        view.show(self._family, rounds, numbers[0])
        self.query_one("#title", Static).update(self._title())

    def _title(self) -> Content:
        rounds = [kin.round for kin in self._family if kin.round is not None]
        if not rounds:
            return Content.assemble(("Lineage", "bold"), "   these rounds were deleted: press esc")
        count = f"{len(rounds)} round{'s' if len(rounds) != 1 else ''}"
        best = best_rounds(rounds)
        perplexities = [
            f"{measured_text(round_.result, 'perplexity')} in round {round_.number}"
            for round_ in rounds
            if round_.number in best
        ]
        summary = f"   ★ perplexity {', '.join(perplexities)}" if perplexities else ""
        return Content.assemble(("Lineage", "bold"), f"   {count}{summary}")

    @property
    def selected(self) -> Round | None:
        number = self.query_one(LineageTree).selected_number
        return next((kin.round for kin in self._family if kin.number == number), None)

    @on(LineageTree.Opened)
    def _open(self) -> None:
        if self.selected is not None:
            self.post_message(RunWanted(self.selected))

    def action_new(self) -> None:
        self.post_message(NewRoundWanted(self.selected))

    def action_copy_missing(self) -> None:
        """Copy the commands that make the rounds missing between the selected one and its parent."""
        at_once = self.query_one(LineageTree).selected_changes
        if at_once is None or not at_once.missing:
            self.notify("no round is missing here: one setting changed, or the rounds between exist", markup=False)
            return
        count = len(at_once.missing)
        title = f"the commands for {count} missing rounds" if count > 1 else "the command for the missing round"
        self.copy(title, "\n".join(missing_round_commands(at_once)))

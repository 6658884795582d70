"""What trains now and what comes after it, to be put in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from engine.api import Cockpit
from engine.spec.round import ACTIVE, WAITING, Round, Status, in_queue_order
from tui.messages import ActionDone, RoundsRead
from tui.screens.rounds.queue_table import QueueTable
from tui.screens.rounds.selection import SelectedRoundScreen
from tui.widgets.key_footer import KeyFooter

EMPTY_TEXT = "Nothing runs and nothing waits: press esc, and n for a new round."


class QueueScreen(SelectedRoundScreen):
    """The queue of the workspace. Held rounds keep their place and are passed over."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "K,shift+up", "move(-1)", "Earlier", tooltip="Move the selected round towards its turn", id="queue.earlier"
        ),
        Binding("J,shift+down", "move(1)", "Later", tooltip="Let the round beneath go first", id="queue.later"),
        Binding(
            "t", "run_next", "Next", tooltip="Put the selected round first; a held one is released", id="queue.next"
        ),
        Binding("escape,u", "app.pop_screen", "Back", tooltip="Back to the table of rounds", id="queue.back"),
    ]

    def __init__(self, cockpit: Cockpit, rounds: Sequence[Round]) -> None:
        super().__init__(cockpit)
        self._rounds = rounds
        self._listed: list[Round] = []

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield QueueTable(id="queue")
        yield Static(EMPTY_TEXT, id="empty", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.show_rounds(self._rounds)

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        running = [round_ for round_ in rounds if round_.status in ACTIVE]
        self._listed = [*running, *in_queue_order(round_ for round_ in rounds if round_.status in WAITING)]
        table = self.query_one(QueueTable)
        table.show(self._listed)
        table.display = bool(self._listed)
        self.query_one("#empty", Static).display = not self._listed
        held = sum(round_.status is Status.HELD for round_ in self._listed)
        counts = [f"{len(running)} running", f"{len(self._listed) - len(running) - held} queued"]
        self.query_one("#title", Static).update(
            Content.assemble(("Queue", "bold"), "   " + " · ".join(counts + [f"{held} held"] * bool(held)))
        )
        self.refresh_bindings()

    @property
    def selected(self) -> Round | None:
        number = self.query_one(QueueTable).selected_number
        return next((round_ for round_ in self._listed if round_.number == number), None)

    @property
    def tabled(self) -> Sequence[Round]:
        return self._listed

    @on(QueueTable.Selected)
    def _open(self) -> None:
        self.action_open()

    @on(QueueTable.Highlighted)
    def _allow(self) -> None:
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("move", "run_next") and not self.cockpit.readonly:
            return True if self.selected is not None and self.selected.status in WAITING else None
        if action == "resume":
            return False  # nothing that waits or runs can be
        return super().check_action(action, parameters)

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

"""An app and screens for what needs a screen, but not the whole of loratui."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import App, ComposeResult
from textual.widgets import Static

from engine.api import Cockpit
from engine.spec.round import Round
from tui.screens.rounds.selection import SelectedRoundsScreen
from tui.screens.workspace_screen import WorkspaceScreen
from tui.widgets.key_footer import KeyFooter


class StandInApp(App[str | None]):
    """An app that shows one screen."""

    def __init__(self, screen: WorkspaceScreen) -> None:
        super().__init__()
        self.only_screen = screen

    async def on_mount(self) -> None:
        await self.push_screen(self.only_screen)

    @property
    def notices(self) -> list[str]:
        """The notifications so far."""
        return [notification.message for notification in self._notifications]


class StandInScreen(SelectedRoundsScreen):
    """A screen over rounds of a store, with no table: `numbers` are its targets, the first of them is selected."""

    def __init__(self, cockpit: Cockpit, numbers: Sequence[int] = (), *, hidden: Sequence[int] = ()) -> None:
        super().__init__(cockpit)
        self.numbers = numbers
        self.hidden = hidden

    def compose(self) -> ComposeResult:
        rows = Static("rows", id="rows")
        rows.can_focus = True
        yield rows
        yield KeyFooter()

    def round_of(self, number: int) -> Round | None:
        return next((round_ for round_ in self.cockpit.store.rounds() if round_.number == number), None)

    @property
    def selected(self) -> Round | None:
        return next(iter(self.targets), None)  # a single look: the rounds may be deleted meanwhile

    @property
    def targets(self) -> list[Round]:
        return [round_ for number in self.numbers if (round_ := self.round_of(number)) is not None]

    @property
    def hidden_targets(self) -> list[Round]:
        return [round_ for round_ in self.targets if round_.number in self.hidden]

    @property
    def rounds_to_export(self) -> list[Round]:
        return self.targets

"""What can be done to the round under the cursor, on every screen that lists rounds."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from engine.rounds import ACTIVE, RESUMABLE, STOPPABLE, WAITING, Round, Status
from tui.messages import ActionDone, RunWanted
from tui.plain import clean
from tui.screens.cockpit_screen import CockpitScreen
from tui.screens.confirm import ConfirmScreen


class SelectedRoundScreen(CockpitScreen):
    """Acts on `selected`; keys that its status does not allow are shown dim."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "x", "stop", "Stop", tooltip="Stop the selected round; adapter and checkpoint are kept", id="round.stop"
        ),
        Binding("r", "resume", "Resume", tooltip="Queue a round again that ended early", id="round.resume"),
        Binding("w", "hold", "Hold", tooltip="Hold a queued round, or release a held one", id="round.hold"),
        Binding("y", "copy", "Copy", tooltip="Copy a path, the --set line, or the table as Markdown", id="round.copy"),
        Binding("d", "remove", "Delete", tooltip="Delete the selected round and its run directory", id="round.remove"),
    ]

    @property
    def selected(self) -> Round | None:
        """The round under the cursor."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not super().check_action(action, parameters):
            return False
        if action not in ("open", "stop", "resume", "hold", "remove"):
            return True
        round_ = self.selected
        if round_ is None:
            return None
        allowed = {
            "open": True,
            "stop": round_.status in STOPPABLE,
            "resume": round_.status in RESUMABLE,
            "hold": round_.status in WAITING,
            "remove": round_.status not in ACTIVE,
        }
        return True if allowed[action] else None

    def action_copy(self) -> None:
        if self.selected is not None:
            self.offer_copies(self.selected)

    def action_open(self) -> None:
        if self.selected is not None:
            self.post_message(RunWanted(self.selected))

    def action_stop(self) -> None:
        self.ask_to_stop(self.selected)

    def action_resume(self) -> None:
        if (round_ := self.selected) is not None:
            self.carry_out(
                lambda: self.cockpit.resume(round_.number),
                lambda _: ActionDone(f"round {round_.number} is queued again"),
            )

    def action_hold(self) -> None:
        if (round_ := self.selected) is None:
            return
        act, word = (self.cockpit.release, "queued") if round_.status is Status.HELD else (self.cockpit.hold, "held")
        self.carry_out(lambda: act(round_.number), lambda _: ActionDone(f"round {round_.number} is {word}"))

    def action_remove(self) -> None:
        if (round_ := self.selected) is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.carry_out(
                    lambda: self.cockpit.remove(round_.number),
                    lambda _: ActionDone(f"round {round_.number} is deleted"),
                )

        there = self.cockpit.workspace.run_dir(round_.id).path.exists()
        where = f" and everything in runs/{clean(round_.id)}" if there else ""
        self.app.push_screen(
            ConfirmScreen(f"Delete round {round_.number}{where}? This cannot be undone.", "Delete"), answered
        )

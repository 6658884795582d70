"""What can be done to the round under the cursor, or to those that are marked, on every screen that lists rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from msgspec import Struct
from textual import work
from textual.binding import Binding, BindingType

from engine.api import Cockpit
from engine.errors import LoratuiError, StoreError
from engine.spec.round import ACTIVE, RESUMABLE, STOPPABLE, WAITING, Round, Status
from tui.messages import ActionDone, ActionFailed, RunWanted, WriteRefused
from tui.screens.workspace_screen import WorkspaceScreen

Act = Callable[[Round], Round]


class Undoable(Struct, frozen=True):
    """Something that was done to rounds, as they were before, and what takes it back, with the words for that."""

    rounds: Sequence[Round]
    back: Act
    told: str


class SelectedRoundScreen(WorkspaceScreen):
    """Acts on `selected` or `targets`; keys that their status does not allow are shown dim.

    `undoable` is what `z` takes back, the last first; a screen on top of another shares it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "x", "stop", "Stop", tooltip="Stop the selected round; adapter and checkpoint are kept", id="round.stop"
        ),
        Binding(
            "r", "resume", "Resume", tooltip="Queue a round again that ended early", id="round.resume"
        ),
        Binding(
            "w", "hold", "Hold", tooltip="Hold a queued round, or release a held one", id="round.hold"
        ),
        Binding("y", "copy", "Copy", tooltip="Copy a path, the --set line, or the table as Markdown", id="round.copy"),
        Binding(
            "d", "remove", "Delete", id="round.remove",
            tooltip="Delete the marked rounds, or the selected one, and their run directories; z brings them back",
        ),
        Binding(
            "z", "undo", "Undo", show=False, id="round.undo",
            tooltip="Take back the last deletion, or change of a name, note, tags or pin",
        ),
    ]  # fmt: skip

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__(cockpit)
        self.undoable: list[Undoable] = []
        self._allowed_before: object = None

    @property
    def selected(self) -> Round | None:
        """The round under the cursor."""
        raise NotImplementedError

    @property
    def targets(self) -> list[Round]:
        """The rounds that an action is meant for which may be done to several."""
        return [] if self.selected is None else [self.selected]

    @property
    def tabled(self) -> Sequence[Round]:
        """The rounds that a table written of this screen has, in its order."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not super().check_action(action, parameters):
            return False
        if action == "undo":
            return True if self.undoable else None
        if action == "remove":
            return True if any(round_.status not in ACTIVE for round_ in self.targets) else None
        if action not in ("open", "stop", "resume", "hold"):
            return True
        round_ = self.selected
        if round_ is None:
            return None
        allowed = {
            "open": True,
            "stop": round_.status in STOPPABLE,
            "resume": round_.status in RESUMABLE,
            "hold": round_.status in WAITING,
        }
        return True if allowed[action] else None

    def action_copy(self) -> None:
        if self.selected is not None:
            self.offer_copies(self.selected, self.tabled)

    def allow(self) -> None:
        """Show in the footer what is allowed by now, if that is something else than before."""
        actions = [binding.action for binding in self.BINDINGS if isinstance(binding, Binding)]
        allowed = [self.check_action(action, ()) for action in actions]
        if allowed != self._allowed_before:
            self._allowed_before = allowed
            self.refresh_bindings()

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
        rounds = [round_ for round_ in self.targets if round_.status not in ACTIVE]
        self.do_to_each(
            rounds,
            lambda round_: self.cockpit.remove(round_.number),
            f"{named(rounds)} deleted",
            lambda round_: self.cockpit.restore(round_.number),
            f"{named(rounds)} back",
        )

    def action_undo(self) -> None:
        if self.undoable:
            last = self.undoable.pop()
            self.do_to_each(last.rounds, last.back, last.told)

    @work(thread=True, group="cockpit")
    def do_to_each(
        self, rounds: Sequence[Round], act: Act, told: str, back: Act | None = None, told_back: str = ""
    ) -> None:
        """Do something to each round and tell of it in `told`; `back` is what `z` does to each to take it back.

        Where the store refuses, what is left to do is kept, to be tried again.
        """
        done: list[Round] = []
        refused: LoratuiError | None = None
        for round_ in rounds:
            try:
                act(round_)
            except LoratuiError as error:
                refused = error
                break
            done.append(round_)
        left = rounds[len(done) :]
        if done and back is not None:
            self.undoable.append(Undoable(done, back, told_back))
        if isinstance(refused, StoreError):
            self.post_message(WriteRefused(refused, lambda: self.do_to_each(left, act, told, back, told_back)))
        elif refused is not None:
            self.post_message(ActionFailed(refused))
        elif done and told:
            self.post_message(ActionDone(f"{told}: z takes it back" if back is not None else told))


def named(rounds: Sequence[Round]) -> str:
    """`round 3 is`, `rounds 3 and 5 are`, or how many: the beginning of a sentence."""
    numbers = [str(round_.number) for round_ in rounds]
    if len(numbers) == 1:
        return f"round {numbers[0]} is"
    if len(numbers) > 4:
        return f"{len(numbers)} rounds are"
    return f"rounds {', '.join(numbers[:-1])} and {numbers[-1]} are" if numbers else "no round is"

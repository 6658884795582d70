"""The base of the screens that list rounds: what can be done to the selected round, or to the marked ones."""

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
from tui.screens.dialogs.confirm import confirm
from tui.screens.workspace_screen import WorkspaceScreen
from tui.views.trash import trash_size

Act = Callable[[Round], Round]


class Undoable(Struct, frozen=True):
    """A change of rounds that can be undone.

    Attributes:
        rounds: the rounds as they were before the change.
        undo: undoes the change of one of them.
        text: what the person reads once it is undone.
    """

    rounds: Sequence[Round]
    undo: Act
    text: str


class SelectedRoundsScreen(WorkspaceScreen):
    """A screen with a list of rounds. Keys that the status of the `selected` round does not allow are dim.

    `undoable` holds what `z` undoes, the last change first; a screen that is opened above another one shares it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "x", "stop", "Stop", tooltip="Stop the selected round; its adapter and checkpoint are kept", id="round.stop"
        ),
        Binding(
            "r", "resume", "Resume", tooltip="Queue a stopped, failed or interrupted round again", id="round.resume"
        ),
        Binding(
            "w", "hold", "Hold", tooltip="Hold a queued round, or release a held one", id="round.hold"
        ),
        Binding("y", "copy", "Copy", tooltip="Copy a path, the --set line, or the table as Markdown", id="round.copy"),
        Binding(
            "d", "remove", "Delete", id="round.remove",
            tooltip="Move the marked rounds, or the selected one, to the trash, where z finds them for a week",
        ),
        Binding(
            "z", "undo", "Undo", show=False, id="round.undo",
            tooltip="Undo the last deletion, even of an earlier session, or change of a name, note, tags or pin",
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
        """The rounds that an action is for, if it can be done to several at once."""
        return [] if self.selected is None else [self.selected]

    @property
    def hidden_targets(self) -> list[Round]:
        """Those of the `targets` that a filter hides."""
        return []

    @property
    def rounds_to_export(self) -> Sequence[Round]:
        """The rounds that an exported table holds, in this order."""
        raise NotImplementedError

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if reason := super().why_not(action, parameters):
            return reason
        round_ = self.selected
        if action in ("open", "stop", "resume", "hold", "copy") and round_ is None:
            return "no round is selected"
        if action == "remove" and not self.targets:
            return "no round is selected"
        if action == "remove" and all(each.status in ACTIVE for each in self.targets):
            return f"{rounds_are(self.targets)} running: stop with {{round.stop}} first"
        limits = {
            "stop": (STOPPABLE, "only a round that runs or waits can be stopped"),
            "resume": (RESUMABLE, "only a stopped, failed or interrupted round can be resumed"),
            "hold": (WAITING, "only a round that waits in the queue can be held"),
        }
        if round_ is None or action not in limits or round_.status in limits[action][0]:
            return ""
        return f"round {round_.number} is {round_.status}: {limits[action][1]}"

    def refresh_allowed(self) -> None:
        """Draw the footer if other actions are allowed than before."""
        actions = dict.fromkeys(binding.action.partition("(")[0] for _, binding in self._bindings)
        allowed = [self.check_action(action, ()) for action in actions]
        if allowed != self._allowed_before:
            self._allowed_before = allowed
            self.refresh_bindings()

    def action_copy(self) -> None:
        if self.selected is not None:
            self.offer_copies(self.selected, self.rounds_to_export)

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
        """Delete the targets; ask first if some of them are hidden."""
        hidden = self.hidden_targets
        if not hidden:
            self._remove()
            return
        marked = f"{rounds_are(hidden)} marked and hidden by the filter"
        question = f"{marked[0].upper()}{marked[1:]}. Delete all {len(self.targets)} marked rounds?"
        confirm(self.app, question, "Delete", self._remove)

    def _remove(self) -> None:
        rounds = [round_ for round_ in self.targets if round_.status not in ACTIVE]
        active = [round_ for round_ in self.targets if round_.status in ACTIVE]
        rest = f"; {rounds_are(active)} running and cannot be deleted" if active else ""
        self.do_to_each(
            rounds,
            lambda round_: self.cockpit.remove(round_.number),
            f"{rounds_are(rounds)} deleted{rest}",
            undo=lambda round_: self.cockpit.restore(round_.number),
            undo_text=f"{rounds_are(rounds)} restored",
            remark=lambda: trash_size(self.cockpit),
        )

    def action_undo(self) -> None:
        """Undo the last change of this session; if there is none, bring back the round that was deleted last."""
        if self.undoable:
            last = self.undoable.pop()
            self.do_to_each(last.rounds, last.undo, last.text)
        else:
            self.carry_out(self._restore_last, _restored)

    def _restore_last(self) -> tuple[Round | None, int]:
        """Restore the round that was deleted last, if any; returns also how many remain in the trash."""
        removed = self.cockpit.trash()
        return (self.cockpit.restore(removed[0].number) if removed else None), len(removed) - 1

    @work(thread=True, group="cockpit")
    def do_to_each(
        self,
        rounds: Sequence[Round],
        act: Act,
        text: str = "",
        *,
        undo: Act | None = None,
        undo_text: str = "",
        remark: Callable[[], str] = str,
    ) -> None:
        """Call `act` with each round, then show `text`; with `undo` the key `z` undoes it for each of them.

        What `remark` returns afterwards, in this thread, is added to the text.

        If the store refuses a write, the rounds that remain can be tried again from the banner.
        """
        done: list[Round] = []
        refusal: LoratuiError | None = None
        for round_ in rounds:
            try:
                act(round_)
            except LoratuiError as error:
                refusal = error
                break
            done.append(round_)
        remaining = rounds[len(done) :]
        if done and undo is not None:
            self.undoable.append(Undoable(done, undo, undo_text))
        if isinstance(refusal, StoreError):
            self.post_message(
                WriteRefused(
                    refusal,
                    lambda: self.do_to_each(remaining, act, text, undo=undo, undo_text=undo_text, remark=remark),
                )
            )
        elif refusal is not None:
            self.post_message(ActionFailed(refusal))
        elif done and text:
            sentence = f"{text}: press z to undo" if undo is not None else text
            self.post_message(ActionDone("; ".join(filter(None, (sentence, remark())))))


def _restored(outcome: tuple[Round | None, int]) -> ActionDone:
    round_, remaining = outcome
    if round_ is None:
        return ActionDone("there is nothing to undo, and the trash is empty")
    more = f"; {remaining} more in the trash" if remaining else ""
    return ActionDone(f"round {round_.number} is back from the trash{more}")


def rounds_are(rounds: Sequence[Round]) -> str:
    """Return the beginning of a sentence: `round 3 is`, `rounds 3 and 5 are`, or `7 rounds are`."""
    numbers = [str(round_.number) for round_ in rounds]
    if len(numbers) == 1:
        return f"round {numbers[0]} is"
    if len(numbers) > 4:
        return f"{len(numbers)} rounds are"
    return f"rounds {', '.join(numbers[:-1])} and {numbers[-1]} are" if numbers else "no round is"

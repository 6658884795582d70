"""Talking to rounds of the table, asked for at the keyboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType

from engine.errors import LoratuiError
from engine.spec.round import Round
from tui.messages import ActionFailed
from tui.screens.preference.open import JudgingScreen

if TYPE_CHECKING:
    from engine.chat.conversation import Chat


class TalkableScreen(JudgingScreen):
    """A screen whose marked rounds, or the selected one, can be talked to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "t", "talk", "Talk", tooltip="Talk to the adapters of the marked rounds, or of this one", id="rounds.talk"
        ),
    ]

    def all_rounds(self) -> Sequence[Round]:
        """Those of the workspace, of which a kept conversation may name any."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "talk":
            return True if self.targets else None
        return super().check_action(action, parameters)

    def action_talk(self) -> None:
        self._talk_to(self.targets)

    @work(thread=True, exclusive=True, group="talk")
    def _talk_to(self, rounds: Sequence[Round]) -> None:
        from engine.chat.participants import begin

        try:
            conversation = begin(self.cockpit.workspace, rounds)
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
        else:
            self.app.call_from_thread(self._open_talk, conversation)

    def _open_talk(self, conversation: Chat) -> None:
        from tui.screens.chat.screen import TalkScreen

        if self.is_current:
            self.go_on_to(TalkScreen(self.cockpit, conversation, self.all_rounds()))

"""Opening a chat with rounds of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import work

from engine.errors import LoratuiError
from engine.spec.round import Round
from tui.messages import ActionFailed
from tui.screens.workspace_screen import WorkspaceScreen


@work(thread=True, exclusive=True, group="chat")
def open_chat(screen: WorkspaceScreen, rounds: Sequence[Round], all_rounds: Callable[[], Sequence[Round]]) -> None:
    """Open a chat with the adapters of `rounds` above `screen`, or say there why that is not possible.

    Args:
        all_rounds: returns the rounds of the workspace; a saved chat may be with any of them.
    """
    from engine.chat.participants import begin

    try:
        conversation = begin(screen.cockpit.workspace, rounds)
    except LoratuiError as error:
        screen.post_message(ActionFailed(error))
        return

    def show() -> None:
        from tui.screens.chat.screen import ChatScreen

        if screen.is_current:
            screen.open_above(ChatScreen(screen.cockpit, conversation, all_rounds()))

    screen.app.call_from_thread(show)

"""What tests of the chat screen share: a chat worker that answers as scripted, and the transcript read back."""

from __future__ import annotations

from textual.pilot import Pilot

from tests.support.pilot import AppPilot, on_screen, shown, until
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.transcript import Transcript


async def open_chat(pilot: AppPilot, *keys: str) -> ChatScreen:
    """Open the chat from the table with `keys` and `t`, and wait for the model."""
    await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
    await pilot.press(*keys, "t")
    await until(pilot, lambda: on_screen(pilot, "ChatScreen"), "the chat")
    await until(pilot, lambda: "loading" not in shown(pilot, "#chat-status"), "the model")
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    return screen


async def say(pilot: AppPilot, screen: ChatScreen, text: str) -> None:
    """Send a message, and wait for the answers."""
    screen.message.put(text)
    await pilot.press("enter")
    await answered(pilot, screen)


async def answered(pilot: AppPilot, screen: ChatScreen) -> None:
    await until(pilot, lambda: not screen.busy, "the answers")
    await pilot.pause()


def transcript(pilot: Pilot[str | None]) -> str:
    """Return the text of all rows of the transcript."""
    rows = pilot.app.screen.query_one(Transcript)._rows
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)

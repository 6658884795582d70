"""What tests of the chat screen share: a chat worker that answers as scripted, and the transcript read back."""

from __future__ import annotations

from textual.pilot import Pilot

from tests.support.pilot import AppPilot, on_screen, shown, until
from tui.screens.chat.screen import TalkScreen
from tui.screens.chat.transcript import Transcript


async def talking(pilot: AppPilot, *keys: str) -> TalkScreen:
    """The conversation screen, opened from the table by `keys` and `t`, its model loaded."""
    await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
    await pilot.press(*keys, "t")
    await until(pilot, lambda: on_screen(pilot, "TalkScreen"), "the conversation")
    await until(pilot, lambda: "loading" not in shown(pilot, "#talk-status"), "the model")
    screen = pilot.app.screen
    assert isinstance(screen, TalkScreen)
    return screen


async def say(pilot: AppPilot, screen: TalkScreen, text: str) -> None:
    """Say it, and wait for the answers."""
    screen.message.put(text)
    await pilot.press("enter")
    await answered(pilot, screen)


async def answered(pilot: AppPilot, screen: TalkScreen) -> None:
    await until(pilot, lambda: not screen.busy, "the answers")
    await pilot.pause()


def transcript(pilot: Pilot[str | None]) -> str:
    """All of the conversation as it is laid out."""
    rows = pilot.app.screen.query_one(Transcript)._rows
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)

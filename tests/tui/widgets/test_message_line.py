"""Messages cover nothing, are whole, and go when they were read."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from engine.api import Cockpit
from scripts.scenes import AppPilot, lines_of
from tests.support.pilot import OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.app import LoratuiApp
from tui.widgets.message_line import MessageLine, shortened

REASON = "experiments.json could not be written and is as before: no space left on device"


@pytest.fixture
def cockpit(idle_cockpit: Cockpit) -> Cockpit:
    for _ in range(3):
        idle_cockpit.store.add(lambda number: make_round(number))
    return idle_cockpit


async def rounds_shown(pilot: AppPilot) -> LoratuiApp:
    await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
    assert isinstance(pilot.app, LoratuiApp)
    return pilot.app


def line_of(pilot: AppPilot) -> str:
    """Return the text of the messages on the screen, "" for none."""
    line = pilot.app.screen.query_one(MessageLine)
    return str(line.content) if line.display else ""


async def test_message_covers_nothing_and_its_end_is_readable(open_app: OpenApp, cockpit: Cockpit) -> None:
    async with open_app(cockpit, size=(80, 24)) as pilot:
        app = await rounds_shown(pilot)
        app.screen.notify(f"/data/{'workspace/' * 9}{REASON}", severity="error", markup=False)
        await until(pilot, lambda: bool(line_of(pilot)), "the message")
        await pilot.pause()
        text = " ".join(line.strip() for line in lines_of(pilot)[-5:-1])
        assert REASON.rpartition(": ")[2] in text
        line = app.screen.query_one(MessageLine)
        others = [
            widget for widget in app.screen.children if widget.display and widget is not line and widget.size.area
        ]
        assert all(not widget.region.intersection(line.region).area for widget in others)


async def test_next_key_clears_a_message_but_not_an_error(open_app: OpenApp, cockpit: Cockpit) -> None:
    async with open_app(cockpit) as pilot:
        app = await rounds_shown(pilot)
        for severity in ("information", "warning", "error"):
            app.screen.notify(severity, severity=severity)
        await until(pilot, lambda: "error" in line_of(pilot), "the messages")
        await pilot.press("j")
        assert line_of(pilot) == "✗ error"
        await pilot.press("ctrl+g")
        assert line_of(pilot) == ""
        app.screen.notify("once more", severity="error")
        await until(pilot, lambda: bool(line_of(pilot)), "the message")
        await pilot.press("escape")
        assert line_of(pilot) == ""


async def test_message_stays_on_its_screen_and_an_announcement_is_on_all(open_app: OpenApp, cockpit: Cockpit) -> None:
    async with open_app(cockpit) as pilot:
        app = await rounds_shown(pilot)
        app.screen.notify("about the table", severity="error")
        app.announce("round 1 finished", "information")
        await until(pilot, lambda: "finished" in line_of(pilot), "the messages")
        await pilot.press("u")
        await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")
        await until(pilot, lambda: line_of(pilot) == "· round 1 finished", "the announcement alone")
        await pilot.press("u")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        assert line_of(pilot) == "✗ about the table\n· round 1 finished"


async def test_message_goes_by_itself(open_app: OpenApp, cockpit: Cockpit) -> None:
    async with open_app(cockpit) as pilot:
        app = await rounds_shown(pilot)
        app.screen.notify("soon gone", timeout=0.05)
        await until(pilot, lambda: bool(line_of(pilot)), "the message")
        await until(pilot, lambda: not line_of(pilot), "its end")


async def test_message_below_a_dialog_is_that_of_the_screen(open_app: OpenApp, cockpit: Cockpit) -> None:
    async with open_app(cockpit) as pilot:
        await rounds_shown(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: on_screen(pilot, "HelpScreen"), "the help")
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert any("leaves loratui" in line for line in lines_of(pilot))


@pytest.mark.parametrize("text", ["short", "x" * 1000, "日本" * 300, f"{'/long' * 100}: no space left on device"])
def test_shortened_text_fits_and_keeps_its_end(text: str) -> None:
    short = shortened(text, 120)
    assert cell_len(short) <= 120
    assert short[-10:] == text[-10:] and short[:10] == text[:10]

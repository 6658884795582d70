"""The app over a workspace, and waiting for what it shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from engine.api import Cockpit
from tests.support.waiting import DEADLINE_SECONDS
from tui.app import LoratuiApp
from tui.screens.form.fields.row import control_id
from tui.screens.form.screen import EditScreen
from tui.screens.form.spec_form import SpecForm
from tui.screens.rounds.table import RoundTable
from tui.screens.run.screen import LiveScreen
from tui.widgets.choice import Choice

AppPilot = Pilot[str | None]
OpenApp = Callable[..., AbstractAsyncContextManager[AppPilot]]


async def until(pilot: AppPilot, condition: Callable[[], bool], what: str) -> None:
    """Let the app work until `condition` holds; fails the test after `DEADLINE_SECONDS`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        await asyncio.sleep(0.01)
        await pilot.pause()


async def enter(pilot: AppPilot, key: str, text: str) -> None:
    """Type `text` into a field, or turn its choice to it, with keys alone."""
    form = pilot.app.screen.query_one(SpecForm)
    form.focus_field(key)
    await pilot.pause()
    control = pilot.app.screen.query_one(f"#{control_id(key)}")
    if isinstance(control, Choice):
        while control.value != text:
            await pilot.press("right")
        return
    await pilot.press("end", "ctrl+u", *text)


async def open_first(pilot: AppPilot) -> LiveScreen:
    await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
    await pilot.press("enter")
    await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")
    screen = pilot.app.screen
    assert isinstance(screen, LiveScreen)
    return screen


async def open_form(pilot: AppPilot) -> EditScreen:
    """Open the form of a new round that begins with the selected one."""
    await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
    await pilot.press("n", "enter")
    await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
    screen = pilot.app.screen
    assert isinstance(screen, EditScreen)
    return screen


@pytest.fixture
def open_app(tmp_path: Path) -> OpenApp:
    """Open the app over a cockpit: `async with open_app(cockpit, size=(80, 24)) as pilot`."""

    @asynccontextmanager
    async def opened(cockpit: Cockpit, size: tuple[int, int] = (80, 24)) -> AsyncIterator[AppPilot]:
        app = LoratuiApp(cockpit, tmp_path)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield pilot
            await pilot.pause()  # a screen that is being opened is there before the app ends
            app.export_screenshot()  # whatever the test left on the screen can be painted

    return opened


def shown(pilot: AppPilot, selector: str) -> str:
    """The text of a static widget on the current screen, "" while it is not there."""
    for widget in pilot.app.screen.query(selector).results(Static):
        return str(widget.content)
    return ""


def on_screen(pilot: AppPilot, name: str) -> bool:
    """Whether the screen class on top is called `name`."""
    return type(pilot.app.screen).__name__ == name


def cells(pilot: AppPilot) -> list[list[str]]:
    """The table's cells, row by row, as text."""
    table = pilot.app.screen.query_one(RoundTable)
    return [table.texts_at(row) for row in range(table.row_count)]

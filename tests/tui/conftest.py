"""What the pilot tests share: the app over a workspace, and waiting for what it shows."""

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
from tests.conftest import DEADLINE_SECONDS
from tui.app import LoratuiApp

AppPilot = Pilot[str | None]
OpenApp = Callable[..., AbstractAsyncContextManager[AppPilot]]


@pytest.fixture
def open_app(tmp_path: Path) -> OpenApp:
    """Open the app over a cockpit: `async with open_app(cockpit, size=(80, 24)) as pilot`."""

    @asynccontextmanager
    async def opened(cockpit: Cockpit, size: tuple[int, int] = (80, 24)) -> AsyncIterator[AppPilot]:
        app = LoratuiApp(cockpit, tmp_path)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield pilot

    return opened


async def until(pilot: AppPilot, condition: Callable[[], bool], what: str) -> None:
    """Let the app work until `condition` holds; fails the test after `DEADLINE_SECONDS`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        await asyncio.sleep(0.01)
        await pilot.pause()


def shown(pilot: AppPilot, selector: str) -> str:
    """The text of a static widget on the current screen, "" while it is not there."""
    for widget in pilot.app.screen.query(selector).results(Static):
        return str(widget.content)
    return ""


def on_screen(pilot: AppPilot, name: str) -> bool:
    """Whether the screen class on top is called `name`."""
    return type(pilot.app.screen).__name__ == name

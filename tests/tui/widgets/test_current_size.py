"""A screen that hears of two sizes at once settles at the one that the terminal has."""

from __future__ import annotations

import asyncio

import pytest
from textual.events import Resize
from textual.geometry import Size
from textual.screen import Screen

from engine.api import Cockpit
from tests.support.pilot import OpenApp, on_screen, until
from tests.support.waiting import DEADLINE_SECONDS


@pytest.mark.parametrize("key", ["", "question_mark", "u"])
async def test_two_sizes_in_the_queue_do_not_go_on_forever(open_app: OpenApp, idle_cockpit: Cockpit, key: str) -> None:
    async with open_app(idle_cockpit) as pilot:
        if key:
            await pilot.press(key)
            await until(pilot, lambda: not on_screen(pilot, "RoundsScreen"), "the other screen")
        screen: Screen[object] = pilot.app.screen
        layouts: list[Size] = []
        screen.screen_layout_refresh_signal.subscribe(screen, lambda _: layouts.append(screen.size))
        for size in (Size(40, 12), pilot.app.size, Size(40, 12), pilot.app.size):
            screen.post_message(Resize(size, size))
            screen.call_later(lambda: None)  # two events in a row would become one
        async with asyncio.timeout(DEADLINE_SECONDS):
            while screen.message_queue_size:
                assert len(layouts) < 100
                await asyncio.sleep(0)
        assert Size(40, 12) not in layouts
        assert screen.size == pilot.app.size

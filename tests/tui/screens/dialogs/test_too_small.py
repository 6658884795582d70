"""A terminal that is too small shows only a sentence; everything is as before once there is room again."""

from __future__ import annotations

import pytest
from textual.widgets import Input, Static

from engine.api import Cockpit
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.screens.dialogs.too_small import MIN_SIZE


def sentence(pilot: AppPilot) -> str:
    return str(pilot.app.screen.query_one(Static).content)


@pytest.mark.parametrize("size", [(MIN_SIZE.width - 1, 40), (120, MIN_SIZE.height - 1), (1, 1), (20, 5)])
async def test_small_terminal_says_which_size_is_needed(
    open_app: OpenApp, idle_cockpit: Cockpit, size: tuple[int, int]
) -> None:
    async with open_app(idle_cockpit, size=size) as pilot:
        await until(pilot, lambda: on_screen(pilot, "TooSmallScreen"), "the cover")
        assert f"needs {MIN_SIZE.width}×{MIN_SIZE.height} characters" in sentence(pilot)
        assert f"has {size[0]}×{size[1]}:" in sentence(pilot)
        await pilot.press("n")
        assert on_screen(pilot, "TooSmallScreen")
        await pilot.press("q")
        await pilot.pause()
        assert not pilot.app.is_running


async def test_least_size_is_enough(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    async with open_app(idle_cockpit, size=(MIN_SIZE.width, MIN_SIZE.height)) as pilot:
        await pilot.pause()
        assert on_screen(pilot, "RoundsScreen")


async def test_what_was_typed_is_there_again(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("n", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        form = pilot.app.screen
        await pilot.press("end", "ctrl+u", *"3e-5")
        for size in ((40, 10), (30, 8), (1, 1)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda: on_screen(pilot, "TooSmallScreen"), "the cover")
        await pilot.press(*"777")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: pilot.app.screen is form, "the form")
        focused = form.focused
        assert isinstance(focused, Input)
        assert (focused.id, focused.value) == ("train-learning_rate", "3e-5")
        assert len(pilot.app.screen_stack) == 2


async def test_typed_text_outlives_leaving_there(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    """No question is asked, as the form is offered again."""
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("n", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        await pilot.press("end", "ctrl+u", *"3e-5")
        await pilot.resize_terminal(40, 10)
        await until(pilot, lambda: on_screen(pilot, "TooSmallScreen"), "the cover")
        await pilot.press("q")
        await until(pilot, lambda: not pilot.app.is_running, "the end")
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")
        assert "continue the form of" in pilot.app.export_screenshot().replace("&#160;", " ")

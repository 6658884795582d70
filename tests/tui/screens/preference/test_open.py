"""Opening a blind test above any screen over a workspace."""

from __future__ import annotations

import pytest

from engine.api import Cockpit
from tests.support.pilot import on_screen, until
from tests.support.rounds import make_round
from tests.support.stand_in import StandInApp, StandInScreen
from tui.screens.preference.open import open_blind_test


@pytest.mark.parametrize("count", [1, 2])
async def test_test_of_two_rounds_or_of_one_is_opened(idle_cockpit: Cockpit, count: int) -> None:
    screen = StandInScreen(idle_cockpit)
    async with StandInApp(screen).run_test() as pilot:
        screen.call_later(open_blind_test, screen, [make_round(number) for number in range(1, count + 1)])
        await until(pilot, lambda: on_screen(pilot, "JudgeScreen"), "the test")


async def test_more_than_two_rounds_are_refused(idle_cockpit: Cockpit) -> None:
    screen = StandInScreen(idle_cockpit)
    app = StandInApp(screen)
    async with app.run_test() as pilot:
        open_blind_test(screen, [make_round(number) for number in (1, 2, 3)])
        await until(pilot, lambda: bool(app.notices), "the reason")
        assert app.notices[0].startswith("3 rounds are marked: mark two")
        assert app.screen is screen


async def test_workspace_that_is_read_only_is_named(idle_cockpit: Cockpit) -> None:
    screen = StandInScreen(Cockpit(idle_cockpit.workspace, lambda _: None, readonly=True))
    app = StandInApp(screen)
    async with app.run_test() as pilot:
        open_blind_test(screen, [make_round(1)])
        await until(pilot, lambda: bool(app.notices), "the reason")
        assert "read" in app.notices[0]
        assert app.screen is screen

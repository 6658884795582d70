"""Opening a chat above any screen over a workspace."""

from __future__ import annotations

from engine.api import Cockpit
from tests.support.pilot import until
from tests.support.rounds import make_round
from tests.support.stand_in import StandInApp, StandInScreen
from tui.screens.chat.open import open_chat


async def test_round_without_an_adapter_is_named(idle_cockpit: Cockpit) -> None:
    screen = StandInScreen(idle_cockpit)
    app = StandInApp(screen)
    async with app.run_test() as pilot:
        open_chat(screen, [make_round(7)], list)
        await until(pilot, lambda: bool(app.notices), "the reason")
        assert "round 7" in app.notices[0]
        assert app.screen is screen

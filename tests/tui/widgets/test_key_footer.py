"""The last line of every screen: as many keys as there is room for, and always the one for help."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from engine.api import Cockpit
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, open_form, until
from tests.support.rounds import make_round
from tui.widgets.key_footer import KeyFooter


def line(pilot: AppPilot) -> str:
    return str(pilot.app.screen.query_one(KeyFooter).render())


@pytest.fixture
def cockpit(idle_cockpit: Cockpit, nano_spec: Spec) -> Cockpit:
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))
    return idle_cockpit


@pytest.mark.parametrize("width", [80, 100, 200])
async def test_help_is_at_the_end_of_the_line_however_short_it_is(
    open_app: OpenApp, cockpit: Cockpit, width: int
) -> None:
    async with open_app(cockpit, size=(width, 24)) as pilot:
        await until(pilot, lambda: "Help" in line(pilot), "the keys")
        assert line(pilot).rstrip().endswith("? Help")
        assert cell_len(line(pilot)) == width
        assert "n New" in line(pilot)


async def test_what_cannot_be_done_now_goes_first_where_there_is_no_room(open_app: OpenApp, cockpit: Cockpit) -> None:
    async with open_app(cockpit, size=(200, 24)) as pilot:
        await until(pilot, lambda: "Help" in line(pilot), "the keys")
        assert "x Stop" in line(pilot), "a finished round cannot be stopped, but there is room to say so"
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "x Stop" not in line(pilot), "less")
        assert "n New" in line(pilot) and "? Help" in line(pilot)


async def test_form_shows_the_way_to_the_palette_as_a_question_mark_is_typed_there(
    open_app: OpenApp, cockpit: Cockpit
) -> None:
    async with open_app(cockpit) as pilot:
        await open_form(pilot)
        await until(pilot, lambda: line(pilot).rstrip().endswith("^p Commands"), "the palette's key")


@pytest.mark.parametrize(("word", "screen"), [("n New", "StartFromScreen"), ("? Help", "HelpScreen")])
async def test_click_on_a_key_does_it(open_app: OpenApp, cockpit: Cockpit, word: str, screen: str) -> None:
    async with open_app(cockpit) as pilot:
        await until(pilot, lambda: word in line(pilot), "the keys")
        await pilot.click(KeyFooter, offset=(cell_len(line(pilot)[: line(pilot).index(word)]) + 2, 0))
        await until(pilot, lambda: on_screen(pilot, screen), screen)

"""A terminal that is too small shows only a sentence; everything is as before once there is room again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from textual.screen import Screen
from textual.widgets import Input, Static

from engine.api import Cockpit
from engine.files.drafts import Drafts
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, open_form, shown, until
from tests.support.rounds import make_round
from tui.app import LoratuiApp
from tui.keymap_table import all_kinds
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.screens.dialogs.too_small import MIN_SIZE, TooSmallScreen, way_back
from tui.screens.form.screen import EditScreen
from tui.screens.rounds.detail import RoundDetail

TOO_SMALL = (40, 10)  # for any screen
HALF = (79, 24)  # for the table, but not for the form


def sentence(pilot: AppPilot) -> str:
    return str(pilot.app.screen.query_one(Static).content)


async def open_filled_form(pilot: AppPilot) -> EditScreen:
    """Open the form and type a learning rate of 3e-5."""
    form = await open_form(pilot)
    await pilot.press("end", "ctrl+u", *"3e-5")
    return form


async def make_small(pilot: AppPilot, size: tuple[int, int] = TOO_SMALL) -> None:
    await pilot.resize_terminal(*size)
    await until(pilot, lambda: on_screen(pilot, "TooSmallScreen"), "the cover")


@pytest.fixture
def one(idle_cockpit: Cockpit, nano_spec: Spec) -> Cockpit:
    """One round, from which a form can start."""
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))
    return idle_cockpit


@pytest.mark.parametrize("size", [(MIN_SIZE.width - 1, 40), (120, MIN_SIZE.height - 1), (1, 1), (20, 5)])
async def test_small_terminal_says_which_size_is_needed(
    open_app: OpenApp, idle_cockpit: Cockpit, size: tuple[int, int]
) -> None:
    async with open_app(idle_cockpit, size=size) as pilot:
        await until(pilot, lambda: on_screen(pilot, "TooSmallScreen"), "the cover")
        assert f"needs {MIN_SIZE.width}×{MIN_SIZE.height} characters" in sentence(pilot)
        assert f"has {size[0]}×{size[1]}:" in sentence(pilot)
        assert "esc" not in sentence(pilot)
        await pilot.press("n", "escape")
        assert on_screen(pilot, "TooSmallScreen")
        await pilot.press("q")
        await pilot.pause()
        assert not pilot.app.is_running


@pytest.mark.parametrize(
    ("size", "has_detail"), [(tuple(MIN_SIZE), False), ((80, 21), False), ((79, 22), True), ((60, 40), True)]
)
async def test_least_size_is_enough_for_the_table_alone(
    open_app: OpenApp, one: Cockpit, size: tuple[int, int], has_detail: bool
) -> None:
    async with open_app(one, size=size) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        assert on_screen(pilot, "RoundsScreen")
        assert pilot.app.screen.query_one(RoundDetail).display is has_detail


async def test_form_says_that_it_needs_more(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one) as pilot:
        await open_filled_form(pilot)
        await make_small(pilot, HALF)
        assert "needs 80×22 characters, and this terminal has 79×24: " in sentence(pilot)
        assert "make it larger, press esc to go back, or press q to leave loratui" in sentence(pilot)
        await pilot.resize_terminal(*TOO_SMALL)
        await until(pilot, lambda: "40×10" in sentence(pilot), "the new size")
        assert "esc" not in sentence(pilot), "the table would have no room either"


async def test_escape_goes_back_from_the_covered_form_and_keeps_it_as_a_draft(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one) as pilot:
        await open_filled_form(pilot)
        await make_small(pilot, HALF)
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        assert len(pilot.app.screen_stack) == 1
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")
        assert "continue the form of" in pilot.app.export_screenshot().replace("&#160;", " ")


async def test_form_that_opens_in_a_small_terminal_can_be_left(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one, size=HALF) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("n", "enter")
        await until(pilot, lambda: on_screen(pilot, "TooSmallScreen"), "the cover")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        assert len(pilot.app.screen_stack) == 1


async def test_escape_asks_where_no_draft_can_be_kept(
    open_app: OpenApp, one: Cockpit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    one.drafts = Drafts(one.workspace.root)
    async with open_app(Cockpit(one.workspace, lambda _: None)) as pilot:  # which looks for the place of drafts once
        form = await open_filled_form(pilot)
        await make_small(pilot, HALF)
        for key, stack in (("n", [form]), ("y", [])):
            await pilot.press("escape")
            await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
            await pilot.press(key)
            back = "TooSmallScreen" if stack else "RoundsScreen"
            await until(pilot, partial(on_screen, pilot, back), "the way back")
            assert pilot.app.screen_stack[1:2] == stack


@pytest.mark.parametrize(
    "kind", [kind for kind in all_kinds(LoratuiApp) if issubclass(kind, Screen) and not kind.__subclasses__()]
)
def test_each_screen_can_be_left_if_it_is_covered(kind: type[Screen[object]]) -> None:
    if kind is not TooSmallScreen:
        assert way_back(kind) not in ("", "app.leave_covered")


@pytest.mark.sample(3)
@pytest.mark.parametrize(("size", "buttons"), [((59, 15), True), ((24, 5), True), ((20, 2), False), ((1, 1), False)])
async def test_question_can_be_answered_at_any_size(
    open_app: OpenApp, idle_cockpit: Cockpit, size: tuple[int, int], buttons: bool
) -> None:
    answers: list[bool | None] = []
    async with open_app(idle_cockpit) as pilot:
        for key in ("y", "n", "enter"):
            await pilot.app.push_screen(
                ConfirmScreen("Delete it? " + "And what comes from it? " * 90, "Delete"), answers.append
            )
            await pilot.resize_terminal(*size)
            assert on_screen(pilot, "ConfirmScreen")
            if buttons:
                picture = pilot.app.export_screenshot().replace("&#160;", " ")
                assert all(text in picture for text in ("Delete it?", "No (n)", "Delete (y)"))
            await pilot.press(key)
            await pilot.resize_terminal(80, 24)
            await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
    assert answers == [True, False, False]


async def test_what_was_typed_is_there_again(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one) as pilot:
        form = await open_filled_form(pilot)
        for size in ((40, 10), (79, 24), (1, 1)):
            await make_small(pilot, size)
        await pilot.press(*"777")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: pilot.app.screen is form, "the form")
        focused = form.focused
        assert isinstance(focused, Input)
        assert (focused.id, focused.value) == ("train-learning_rate", "3e-5")
        assert len(pilot.app.screen_stack) == 2


async def test_typed_text_outlives_leaving_there(open_app: OpenApp, one: Cockpit) -> None:
    """No question is asked, as the form is offered again."""
    async with open_app(one) as pilot:
        await open_filled_form(pilot)
        await make_small(pilot)
        await pilot.press("q")
        await until(pilot, lambda: not pilot.app.is_running, "the end")
    async with open_app(one) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")
        assert "continue the form of" in pilot.app.export_screenshot().replace("&#160;", " ")

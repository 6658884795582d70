"""The line at the bottom of a screen: what opening and closing it does to focus and typed text."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.api import Cockpit
from tests.support.pilot import AppPilot, until
from tests.support.stand_in import StandInApp, StandInScreen
from tui.screens.rounds.editor_line import EditorLine
from tui.widgets.line_editor import LineEditor


@pytest.fixture
async def pilot(idle_cockpit: Cockpit) -> AsyncIterator[AppPilot]:
    async with StandInApp(StandInScreen(idle_cockpit)).run_test() as pilot:
        yield pilot


@pytest.fixture
def line(pilot: AppPilot) -> EditorLine:
    """A line that gives the focus back to the rows of the screen."""
    screen = pilot.app.screen
    assert isinstance(screen, StandInScreen)
    return EditorLine(screen, lambda: screen.query_one("#rows").focus())


def note(text: str = "stored") -> LineEditor:
    return LineEditor("note of round 1", text, hint="", purpose="note", number=1)


async def test_keys_are_typed_into_the_line_from_the_first_one_on(pilot: AppPilot, line: EditorLine) -> None:
    await line.open(note())
    assert line.has_focus
    await pilot.press("!")
    assert line.current is not None
    assert line.current.text == "stored!"


async def test_line_stands_above_the_footer(pilot: AppPilot, line: EditorLine) -> None:
    await line.open(note())
    children = [type(child).__name__ for child in pilot.app.screen.children]
    assert children.index("LineEditor") == children.index("KeyFooter") - 1


async def test_closing_removes_the_line_and_gives_the_focus_back(pilot: AppPilot, line: EditorLine) -> None:
    await line.open(note())
    line.close()
    await until(pilot, lambda: line.current is None, "the end of the line")
    assert not line.has_focus
    assert pilot.app.focused is pilot.app.screen.query_one("#rows")


async def test_line_without_changes_is_replaced(line: EditorLine) -> None:
    await line.open(note("first"))
    await line.open(note("second"))
    assert line.current is not None
    assert line.current.text == "second"


async def test_line_with_unsaved_text_stays_and_gets_the_focus(pilot: AppPilot, line: EditorLine) -> None:
    await line.open(note("first"))
    await pilot.press("!")
    assert line.unsaved
    pilot.app.screen.query_one("#rows").focus()
    await line.open(note("second"))
    assert line.has_focus
    assert line.current is not None
    assert line.current.text == "first!"


async def test_text_that_edits_no_round_is_never_unsaved(pilot: AppPilot, line: EditorLine) -> None:
    await line.open(LineEditor("/", "", hint="", purpose="filter"))
    await pilot.press("p", "p", "l")
    assert not line.unsaved

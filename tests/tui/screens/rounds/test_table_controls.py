"""`TableControls` on a screen that has only a table of rounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from textual.app import ComposeResult

from engine.api import Cockpit
from tests.support.pilot import AppPilot, until
from tests.support.rounds import make_round
from tests.support.stand_in import StandInApp
from tui.screens.rounds.arrange import TableControls
from tui.screens.rounds.column_layout import ColumnLayout, layout_path, read_layout, write_layout
from tui.screens.rounds.editor_line import EditorLine
from tui.screens.rounds.table import RoundTable
from tui.screens.workspace_screen import WorkspaceScreen
from tui.widgets.key_footer import KeyFooter

ROUNDS = [make_round(1, name="wide"), make_round(2, name="narrow"), make_round(3, name="wide")]


class TableScreen(WorkspaceScreen):
    """A table, and what controls it."""

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__(cockpit)
        self.line = EditorLine(self, lambda: self.table.focus())
        self.controls = TableControls(self, self.line)

    @property
    def table(self) -> RoundTable:
        return self.query_one(RoundTable)

    @property
    def numbers(self) -> list[object]:
        return list(self.table.rows)

    def compose(self) -> ComposeResult:
        yield RoundTable()
        yield KeyFooter()


@pytest.fixture
def screen(idle_cockpit: Cockpit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TableScreen:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return TableScreen(idle_cockpit)


@pytest.fixture
async def pilot(screen: TableScreen) -> AsyncIterator[AppPilot]:
    async with StandInApp(screen).run_test() as pilot:
        screen.table.show(ROUNDS, {}, 3)
        yield pilot


async def type_filter(pilot: AppPilot, screen: TableScreen, text: str) -> None:
    await screen.controls.open_filter()
    assert screen.line.current is not None
    screen.line.current.field.value = text
    await pilot.pause()
    screen.controls.filter_while_typing(screen.line.current)


async def test_rounds_that_match_are_shown_while_typing(pilot: AppPilot, screen: TableScreen) -> None:
    await type_filter(pilot, screen, "wide")
    assert screen.numbers == [1, 3]
    assert screen.table.selected_number == 3


async def test_last_word_that_cannot_be_read_is_left_out(pilot: AppPilot, screen: TableScreen) -> None:
    await type_filter(pilot, screen, "narrow ppl<")
    assert screen.numbers == [2]
    assert screen.line.current is not None
    screen.controls.submit(screen.line.current)
    await pilot.pause()
    assert screen.line.current is not None  # until it can be read


async def test_submit_keeps_the_filter_and_cancel_restores_the_one_before(pilot: AppPilot, screen: TableScreen) -> None:
    await type_filter(pilot, screen, "wide")
    assert screen.line.current is not None
    screen.controls.submit(screen.line.current)
    await until(pilot, lambda: screen.line.current is None, "the end of the line")
    await type_filter(pilot, screen, "narrow")
    assert screen.numbers == [2]
    screen.controls.cancel()
    assert (screen.numbers, screen.table.view.filter) == ([1, 3], "wide")


async def test_back_clears_filter_then_marks_then_order(pilot: AppPilot, screen: TableScreen) -> None:
    table, controls = screen.table, screen.controls
    table.set_view(sort="-number", filter="wide")
    table.action_mark()
    layers = [(table.view.filter, table.marked, table.view.sort)]
    for _ in range(3):
        controls.go_back()
        layers.append((table.view.filter, table.marked, table.view.sort))
    assert layers == [("wide", [3], "-number"), ("", [3], "-number"), ("", [], "-number"), ("", [], "")]


async def test_chosen_columns_are_remembered_and_recalled(pilot: AppPilot, screen: TableScreen) -> None:
    layout = ColumnLayout(("number", "note", "name"), {"tags": True})
    screen.controls.remember_layout(layout)
    await until(pilot, lambda: read_layout() == layout, "the file")
    other = ColumnLayout(("number", "status"), {"note": False})
    write_layout(other)
    screen.run_worker(screen.controls.recall_layout, thread=True)
    await until(pilot, lambda: screen.table.column_layout == other, "the columns of the file")


async def test_columns_that_cannot_be_saved_give_the_reason(pilot: AppPilot, screen: TableScreen) -> None:
    layout_path().mkdir(parents=True)  # where the file would be
    screen.controls.remember_layout(ColumnLayout())
    assert isinstance(pilot.app, StandInApp)
    app = pilot.app
    await until(pilot, lambda: any("columns could not be saved" in notice for notice in app.notices), "the reason")

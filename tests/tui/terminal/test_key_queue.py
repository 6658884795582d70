"""Keys that come all at once, as over a slow line: each does what it would do if the person had waited."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from textual.events import Paste
from textual.widgets import TextArea

from engine.api import Cockpit
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, until
from tests.support.rounds import make_round
from tests.support.terminal import DOWN, ENTER, Terminal, ctrl
from tui.app import LoratuiApp
from tui.screens.rounds.screen import RoundsScreen
from tui.screens.rounds.table import RoundTable

ROUNDS = 5


@pytest.fixture
def filled(idle_cockpit: Cockpit, nano_spec: Spec) -> Cockpit:
    for _ in range(ROUNDS):
        idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))
    return idle_cockpit


async def type_at_once(pilot: AppPilot, *keys: str) -> None:
    """All of them before any has been looked at; done when the last is handed on."""
    app = pilot.app
    assert isinstance(app, LoratuiApp)
    for key in keys:
        app.simulate_key(key)
    await pilot.pause()
    await until(pilot, lambda: not app.has_typed_ahead, "the last key")
    await pilot.pause()


def line(pilot: AppPilot) -> str | None:
    screen = pilot.app.screen
    assert isinstance(screen, RoundsScreen)
    return screen.line.current.text if screen.line.current is not None else None


async def test_letters_behind_a_key_that_opens_a_line_stand_in_the_line(open_app: OpenApp, filled: Cockpit) -> None:
    """`a` would show the ancestry, `x` stop a round, `d` delete it."""
    async with open_app(filled) as pilot:
        await until(pilot, lambda: len(pilot.app.screen.query_one(RoundTable).rows) == ROUNDS, "the rounds")
        await type_at_once(pilot, "slash", *"axd")
        assert line(pilot) == "axd"
        await type_at_once(pilot, "ctrl+u", *"lr", "backspace", *"r>1", "left", "left", *"=0", "home", *"b")
        assert line(pilot) == "blr=0>1"
    assert len(filled.store.rounds()) == ROUNDS


async def test_keys_behind_one_that_closes_a_line_are_the_tables_again(open_app: OpenApp, filled: Cockpit) -> None:
    async with open_app(filled) as pilot:
        table = pilot.app.screen.query_one(RoundTable)
        await until(pilot, lambda: len(table.rows) == ROUNDS, "the rounds")
        await type_at_once(pilot, "slash", *"status:finished", "enter", "g", "j", "j", "k", "space")
        assert line(pilot) is None
        await until(pilot, lambda: table.cursor_row == 2, "the row that is gone to")


async def test_round_is_queued_by_keys_that_all_come_at_once(open_app: OpenApp, filled: Cockpit) -> None:
    async with open_app(filled) as pilot:
        await until(pilot, lambda: len(pilot.app.screen.query_one(RoundTable).rows) == ROUNDS, "the rounds")
        await type_at_once(
            pilot, "n", "enter", "ctrl+u", *"3e-5", "down", "ctrl+u", *"42", "backspace", "ctrl+n", *"whx", "backspace",
            *"y", "ctrl+s",
        )  # fmt: skip
        await until(pilot, lambda: len(filled.store.rounds()) == ROUNDS + 1, "the round")
    queued = filled.store.rounds()[-1]
    assert (queued.spec.train.learning_rate, queued.spec.train.per_device_train_batch_size) == (3e-5, 4)
    assert queued.note == "why"


def test_packet_of_keys_does_on_a_real_terminal_what_they_say(filled: Cockpit) -> None:
    with Terminal([str(Path(sys.executable).with_name("loratui"))], filled.workspace.root) as terminal:
        terminal.wait_for(f"{ROUNDS} rounds")
        terminal.type(f"kk/xd{ctrl('u')}lr>0{ENTER}n{ENTER}{ctrl('u')}3e-5{DOWN}{ctrl('u')}42{ctrl('h')}{ctrl('u')}7")
        terminal.wait_for("per_device_train_batch_size=7", "learning_rate                 3e-5")
    assert len(filled.store.rounds()) == ROUNDS


async def test_paste_goes_where_the_key_before_it_leads(open_app: OpenApp, filled: Cockpit) -> None:
    async with open_app(filled) as pilot:
        await until(pilot, lambda: len(pilot.app.screen.query_one(RoundTable).rows) == ROUNDS, "the rounds")
        pilot.app.simulate_key("n")
        pilot.app.simulate_key("enter")
        pilot.app.simulate_key("ctrl+n")
        pilot.app.post_message(Paste("from the clipboard"))
        await type_at_once(pilot, *"!")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert pilot.app.screen.query_one(TextArea).text == "from the clipboard!"


async def test_keys_after_one_whose_work_never_ends_are_not_lost(
    open_app: OpenApp, filled: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A screen that hangs holds them up for a moment, not for good."""
    monkeypatch.setattr("tui.terminal.key_queue.LONGEST_SECONDS", 0.05)
    async with open_app(filled) as pilot:
        table = pilot.app.screen.query_one(RoundTable)
        await until(pilot, lambda: len(table.rows) == ROUNDS, "the rounds")
        monkeypatch.setattr("tui.terminal.key_queue._caught_up", never)
        await type_at_once(pilot, "g", "j", "j")
        await until(pilot, lambda: table.cursor_row == 2, "the third row")


async def never(_: object) -> None:
    await asyncio.Event().wait()

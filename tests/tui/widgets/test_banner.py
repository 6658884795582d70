"""What the terminal app says of a store that is damaged, cannot be read, or cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from textual.widgets import Input, TextArea

from engine.api import Cockpit
from engine.errors import StoreError
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.json_storage import AtomicJSONStorage
from engine.store.round_store import RoundStore
from scripts.scenes import lines_of
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import damage, make_round
from tui.screens.form.start_from import Origin
from tui.screens.rounds.screen import RoundsScreen
from tui.screens.rounds.table import RoundTable
from tui.screens.run.screen import LiveScreen
from tui.widgets.banner import Banner
from tui.widgets.chart.chart import CurveChart

Refuse = Callable[[bool], None]


def banner(pilot: AppPilot) -> str:
    return " ".join(shown(pilot, "#banner").split()) if pilot.app.screen.query_one(Banner).display else ""


def footer(pilot: AppPilot) -> str:
    return " ".join(
        binding.binding.description for binding in pilot.app.screen.active_bindings.values() if binding.binding.show
    )


async def until_rows(pilot: AppPilot, count: int) -> None:
    await until(pilot, lambda: pilot.app.screen.query_one(RoundTable).row_count == count, f"{count} rows")


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Have every write of the store refused, or not any more."""
    write = AtomicJSONStorage.write

    def full(*_: object, **__: object) -> None:
        raise StoreError("experiments.json could not be written and is as before: no space left on device")

    return lambda wanted: monkeypatch.setattr(AtomicJSONStorage, "write", full if wanted else write)


@pytest.fixture
def held(idle_cockpit: Cockpit) -> RoundStore:
    """A store with two held rounds."""
    for _ in range(2):
        idle_cockpit.store.add(lambda number: make_round(number, Status.HELD))
    return idle_cockpit.store


async def test_mended_store_is_told_until_it_is_dismissed(
    open_app: OpenApp, idle_cockpit: Cockpit, held: RoundStore
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await until_rows(pilot, 2)
        assert banner(pilot) == ""
        assert "Dismiss" not in footer(pilot)
        damage(idle_cockpit.workspace.store_path, b"{")
        await until(pilot, lambda: "1 round recovered from experiments.json.bak1" in banner(pilot), "the notice")
        await until_rows(pilot, 1)
        assert "Dismiss" in footer(pilot)
        assert "Try again" not in footer(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the other screen")
        await until(pilot, lambda: "recovered" in banner(pilot), "the notice there too")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: banner(pilot) == "", "no notice")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        assert banner(pilot) == ""
        await until(pilot, lambda: held.notices() == [], "the dismissal")
        assert "Dismiss" not in footer(pilot)


async def test_refused_write_leaves_the_table_and_is_tried_again_when_asked(
    open_app: OpenApp, idle_cockpit: Cockpit, held: RoundStore, refuse: Refuse
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await until_rows(pilot, 2)
        refuse(True)
        await pilot.press("w")
        await until(pilot, lambda: "no space left on device (^t tries again)" in banner(pilot), "the refusal")
        assert pilot.app.screen.query_one(RoundTable).row_count == 2
        assert "Try again" in footer(pilot)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "^t tries again" in banner(pilot), "refused once more")
        assert held.get(2).status is Status.HELD
        refuse(False)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: held.get(2).status is Status.QUEUED, "the release")
        await until(pilot, lambda: banner(pilot) == "", "no banner")
        assert "Try again" not in footer(pilot)


async def test_refused_write_can_be_given_up(
    open_app: OpenApp, idle_cockpit: Cockpit, held: RoundStore, refuse: Refuse
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await until_rows(pilot, 2)
        refuse(True)
        await pilot.press("w")
        await until(pilot, lambda: "^t tries again" in banner(pilot), "the refusal")
        await pilot.press("ctrl+g")
        assert banner(pilot) == ""
        refuse(False)
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert held.get(2).status is Status.HELD


async def test_round_that_could_not_be_queued_stays_in_the_form(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, refuse: Refuse
) -> None:
    first = idle_cockpit.queue(nano_spec, name="first")
    async with open_app(idle_cockpit, size=(120, 40)) as pilot:
        await until_rows(pilot, 1)
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")
        pilot.app.screen.dismiss(Origin(first.spec, "again", first))
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        await pilot.press("ctrl+n", *"why")
        refuse(True)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "^t tries again" in banner(pilot), "the refusal")
        assert on_screen(pilot, "EditScreen")
        assert pilot.app.screen.query_one("#note", TextArea).text == "why"
        assert pilot.app.screen.query_one("#name", Input).value == "again"
        refuse(False)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")
    assert [(round_.name, round_.note) for round_ in idle_cockpit.store.rounds()] == [("first", ""), ("again", "why")]
    assert len(list(idle_cockpit.workspace.runs_dir.glob("*/spec.json"))) == 2


@pytest.mark.usefixtures("held")
async def test_store_that_cannot_be_read_for_a_while_leaves_the_table(
    open_app: OpenApp, idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await until_rows(pilot, 2)

        def refuse(*_: object, **__: object) -> bytes:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("engine.store.json_format.read_plain", refuse)
            os.utime(idle_cockpit.workspace.store_path)
            await until(pilot, lambda: "cannot be read: input/output error" in banner(pilot), "the error")
            assert pilot.app.screen.query_one(RoundTable).row_count == 2
        await until(pilot, lambda: banner(pilot) == "", "no banner")
        await until_rows(pilot, 2)


async def test_round_that_does_not_hold_together_is_named_beside_the_others(
    open_app: OpenApp, idle_cockpit: Cockpit, held: RoundStore
) -> None:
    path = idle_cockpit.workspace.store_path
    damage(path, path.read_bytes().replace(b'"status": "held"', b'"status": "[/]\\u001b[31m"', 1))
    async with open_app(idle_cockpit) as pilot:
        await until_rows(pilot, 1)
        await until(pilot, lambda: "round 1 in experiments.json is not valid" in banner(pilot), "the notice")
        assert "\x1b" not in banner(pilot)


@pytest.mark.sample(6)
@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 36)])
@pytest.mark.parametrize("count", [1, 3, 6, 9])
async def test_many_long_sentences_leave_room_and_each_shows_its_end(
    open_app: OpenApp, idle_cockpit: Cockpit, held: RoundStore, size: tuple[int, int], count: int
) -> None:
    sentences = [f"sentence {number} " + "goes on and on, " * 9 + f"end{number}" for number in range(count)]
    async with open_app(Cockpit(idle_cockpit.workspace, lambda _: None, readonly=True), size=(200, 60)) as pilot:
        await until_rows(pilot, 2)
        screen = pilot.app.screen
        assert isinstance(screen, RoundsScreen)
        screen.show_notices(sentences)
        await pilot.resize_terminal(*size)
        seen = min(count, 6 if count <= 6 else 5)
        ends = [f"end{number}" for number in range(seen)] + ["and 4 more"] * (count > 6)
        await until(pilot, lambda: all(any(end in line for line in lines_of(pilot)) for end in ends), "every end")
        assert pilot.app.screen.query_one(Banner).size.height <= 6
        assert "read-only" in lines_of(pilot)[0]
        assert all(any(f"{number}  " in line for line in lines_of(pilot)) for number in (1, 2)), "the rounds"


@pytest.mark.parametrize("size", [(60, 16), (80, 22)])
async def test_banner_leaves_header_and_curve_of_a_run_in_view(
    open_app: OpenApp, idle_cockpit: Cockpit, held: RoundStore, size: tuple[int, int]
) -> None:
    async with open_app(idle_cockpit, size=size) as pilot:
        await until_rows(pilot, 2)
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")
        screen = pilot.app.screen
        assert isinstance(screen, LiveScreen)
        screen.show_notices(["a sentence that goes on and on " * 9] * 6)
        screen.query_one("#log-view").focus()  # which scrolls to it what can be scrolled
        await until(pilot, lambda: screen.query_one(Banner).region.height == 6, "the banner")
        await until(pilot, lambda: "Round 2" in lines_of(pilot)[6], "the header below it")
        assert screen.query_one(CurveChart).size.height >= 5 and screen.max_scroll_y == 0
        assert "Help" in lines_of(pilot)[-1]

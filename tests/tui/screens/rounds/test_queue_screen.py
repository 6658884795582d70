from __future__ import annotations

import pytest

from engine.api import Cockpit
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.screens.rounds.queue_screen import QueueTable

Row = tuple[str, str, str]


def rows(pilot: AppPilot) -> list[Row]:
    """Return place, number and status of each row."""
    table = pilot.app.screen.query_one(QueueTable)
    texts = [table.texts_at(row) for row in range(table.row_count)]
    return [(cells[0], cells[1], cells[2]) for cells in texts]


async def until_rows(pilot: AppPilot, *expected: Row) -> None:
    await until(
        pilot, lambda: on_screen(pilot, "QueueScreen") and rows(pilot) == list(expected), f"the rows {expected}"
    )


def selected(pilot: AppPilot) -> int | None:
    return pilot.app.screen.query_one(QueueTable).selected_number


@pytest.fixture
def queued(idle_cockpit: Cockpit, nano_spec: Spec) -> Cockpit:
    """Round 1 running, 2 to 4 waiting, of which 3 is held, and one that is done."""
    idle_cockpit.store.add(lambda number: make_round(number, Status.RUNNING))
    for hold in (False, True, False):
        idle_cockpit.queue(nano_spec, hold=hold, note="why not")
    idle_cockpit.store.add(lambda number: make_round(number, Status.FINISHED))
    return idle_cockpit


BEFORE: tuple[Row, ...] = (
    ("now", "1", "running"), ("1", "2", "queued"), ("–", "3", "held"), ("3", "4", "queued"),
)  # fmt: skip


async def test_queue_shows_what_runs_and_what_waits_in_order(open_app: OpenApp, queued: Cockpit) -> None:
    async with open_app(queued) as pilot:
        await until(pilot, lambda: "5 rounds" in shown(pilot, "#title"), "the rounds")
        await pilot.press("u")
        await until_rows(pilot, *BEFORE)
        assert shown(pilot, "#title") == "Queue   1 running · 2 queued · 1 held"
        await pilot.press("escape")
        assert on_screen(pilot, "RoundsScreen")


async def test_keys_change_the_order_and_the_cursor_stays_with_its_round(open_app: OpenApp, queued: Cockpit) -> None:
    async with open_app(queued) as pilot:
        await pilot.press("u")
        await until_rows(pilot, *BEFORE)
        await pilot.press("j", "j", "j")
        assert selected(pilot) == 4
        await pilot.press("K", "K")
        await until_rows(pilot, BEFORE[0], ("1", "4", "queued"), ("2", "2", "queued"), ("–", "3", "held"))
        assert selected(pilot) == 4
        await pilot.press("shift+down")
        await until_rows(pilot, BEFORE[0], ("1", "2", "queued"), ("2", "4", "queued"), ("–", "3", "held"))
        assert [round_.number for round_ in queued.waiting()] == [2, 4, 3]


async def test_held_round_runs_next_when_asked(open_app: OpenApp, queued: Cockpit) -> None:
    async with open_app(queued) as pilot:
        await pilot.press("u")
        await until_rows(pilot, *BEFORE)
        await pilot.press("j", "j", "t")
        await until_rows(pilot, BEFORE[0], ("1", "3", "queued"), ("2", "2", "queued"), ("3", "4", "queued"))


async def test_round_is_held_stopped_and_deleted_from_the_queue(
    open_app: OpenApp, queued: Cockpit, store: RoundStore
) -> None:
    async with open_app(queued) as pilot:
        await pilot.press("u")
        await until_rows(pilot, *BEFORE)
        await pilot.press("j", "w")
        await until_rows(pilot, BEFORE[0], ("–", "2", "held"), ("–", "3", "held"), ("3", "4", "queued"))
        await pilot.press("x", "y")
        await until_rows(pilot, BEFORE[0], ("–", "3", "held"), ("2", "4", "queued"))
        assert store.get(2).status is Status.STOPPED
        await pilot.press("d")
        await until_rows(pilot, BEFORE[0], ("1", "4", "queued"))
        assert [round_.number for round_ in store.rounds()] == [1, 2, 4, 5]


async def test_running_round_cannot_be_moved(open_app: OpenApp, queued: Cockpit) -> None:
    async with open_app(queued) as pilot:
        await pilot.press("u")
        await until_rows(pilot, *BEFORE)
        await pilot.press("J", "t")
        await pilot.pause()
        assert rows(pilot) == list(BEFORE)
        assert pilot.app.screen.check_action("move", (1,)) is None


async def test_queue_shows_what_is_wrong_with_the_store(open_app: OpenApp, queued: Cockpit) -> None:
    queued.workspace.store_path.write_bytes(b"{broken")
    async with open_app(queued) as pilot:
        await until(pilot, lambda: "4 rounds" in shown(pilot, "#title"), "what the backup has")
        await pilot.press("u")
        await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")
        await until(pilot, lambda: "was damaged" in shown(pilot, "#banner"), "the banner")


async def test_empty_queue_says_what_to_press(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    async with open_app(idle_cockpit) as pilot:
        await pilot.press("u")
        await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")
        assert "press esc, then n for a new round" in shown(pilot, "#empty")
        assert not pilot.app.screen.query_one(QueueTable).display
        await pilot.press("K", "t", "x", "d", "w", "u")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")


async def test_long_note_is_cut_to_the_terminal(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, Status.QUEUED, name="named", note="why not " * 20))
    async with open_app(idle_cockpit) as pilot:
        await pilot.press("u")
        await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")
        table = pilot.app.screen.query_one(QueueTable)
        await until(pilot, lambda: table.row_count == 1, "its round")
        assert table.render_line(1).text.rstrip().endswith("…")
        assert table.virtual_size.width <= 80
        await pilot.resize_terminal(120, 24)
        await until(pilot, lambda: 80 < table.virtual_size.width <= 120, "the note as wide as there is room")

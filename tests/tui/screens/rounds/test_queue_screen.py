from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.runner.workspace_runner import WorkspaceRunner
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.system.telemetry import GpuSample
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round, make_spec
from tui.screens.rounds.queue_screen import QueueScreen, QueueTable

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


NOON = 1_795_003_200.0  # 18 November 2026, by `date -u -d @1795003200`
MINUTE = 60.0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """It is noon in Greenwich, on a machine without a card where a runner is at work; how often it was asked."""
    questions: list[str] = []

    def sample_gpus() -> tuple[tuple[GpuSample, ...], str]:
        questions.append("gpus")
        return (), "no NVIDIA GPU"

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("time.time", lambda: NOON)
    monkeypatch.setattr("engine.runner.queue_outlook.sample_gpus", sample_gpus)
    monkeypatch.setattr(WorkspaceRunner, "is_at_work", lambda runner: True)
    yield questions
    monkeypatch.undo()
    time.tzset()


def timed(number: int, status: Status, minutes: float = 40, name: str = "") -> Round:
    """A round whose steps take so many minutes, by round 1, which has taken 40. It has run for 10, if it runs."""
    spec = make_spec(data__eval_fraction=0, train__num_train_epochs=minutes / 40)
    plan = make_plan(spec, 100)
    round_ = make_round(number, status, spec=spec, plan=plan, turn=float(number), name=name, note="why not " * 20)
    if status is Status.RUNNING:
        return msgspec.structs.replace(round_, started=NOON - 10 * MINUTE)
    if status is Status.FINISHED:
        result = Result(train_seconds=minutes * MINUTE, step=plan.total_steps)
        return msgspec.structs.replace(round_, result=result, started=NOON - 99 * MINUTE, ended=NOON - 59 * MINUTE)
    return round_


def starts(pilot: AppPilot) -> dict[str, str]:
    """Return the column of starts by the number of the round."""
    table = pilot.app.screen.query_one(QueueTable)
    at = [column.key for column in table.columns].index("starts")
    return {texts[1]: texts[at] for texts in (table.texts_at(row) for row in range(table.row_count))}


def add(cockpit: Cockpit, *rounds: Round) -> None:
    for round_ in rounds:
        cockpit.store.add(lambda number, round_=round_: round_)  # type: ignore[misc]


async def test_starts_and_the_end_follow_the_progress_and_the_order(
    open_app: OpenApp, idle_cockpit: Cockpit, asked: list[str]
) -> None:
    """Round 2 ends at 12:30 by round 1, or at 12:50 by its own pace; then come 40 and 80 minutes. 3 is held."""
    statuses = (Status.FINISHED, Status.RUNNING, Status.HELD, Status.QUEUED)
    add(idle_cockpit, *(timed(number, status) for number, status in enumerate(statuses, 1)))
    add(idle_cockpit, timed(5, Status.QUEUED, minutes=80))
    async with open_app(idle_cockpit) as pilot:
        await pilot.press("u")
        await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")
        await until(pilot, lambda: starts(pilot) == {"2": "", "3": "–", "4": "12:30", "5": "13:10"}, "the starts")
        # By one round, 25 % less or more: 30 − 10 + 30 + 60 minutes, and 50 − 10 + 50 + 100.
        assert shown(pilot, "#title") == (
            "Queue   1 running · 2 queued · 1 held · all done about 14:30 (13:50 to 15:10)"
        )
        screen = pilot.app.screen
        assert isinstance(screen, QueueScreen)
        screen.show_progress({2: RunProgress(step=6, total_steps=12, remaining_seconds=50 * MINUTE)})
        assert starts(pilot) == {"2": "", "3": "–", "4": "12:50", "5": "13:30"}
        await pilot.press("j", "j", "j", "K")
        await until(pilot, lambda: starts(pilot) == {"2": "", "3": "–", "5": "12:50", "4": "14:10"}, "another order")
        assert asked == ["gpus"]
        await pilot.press("w")
        await until(pilot, lambda: starts(pilot) == {"2": "", "3": "–", "5": "–", "4": "12:50"}, "one that is held")
        await until(pilot, lambda: asked == ["gpus", "gpus"], "another question, as another round waits")


async def test_start_is_readable_beside_a_long_name_and_the_note(
    open_app: OpenApp, idle_cockpit: Cockpit, asked: list[str]
) -> None:
    """Round 2 takes 18 hours from noon on, and 4 has no round that is alike."""
    long = "a name that is longer than any column"
    add(
        idle_cockpit,
        timed(1, Status.FINISHED),
        timed(2, Status.QUEUED, 18 * 60, long),
        timed(3, Status.QUEUED, 40, long),
    )
    other = make_round(4, Status.QUEUED, spec=make_spec(lora__use_dora=True), turn=4.0, name=long, note="why not")
    add(idle_cockpit, other, timed(5, Status.QUEUED, 40, long))
    async with open_app(idle_cockpit) as pilot:
        await pilot.press("u")
        expected = {"2": "12:00", "3": "tomorrow 06:00", "4": "tomorrow 06:40", "5": "after round 4"}
        await until(pilot, lambda: on_screen(pilot, "QueueScreen") and starts(pilot) == expected, "the starts")
        table = pilot.app.screen.query_one(QueueTable)
        await pilot.pause()
        line = table.render_line(2).text
        assert "  tomorrow 06:00  why not" in line and line.rstrip().endswith("…")
        assert table.virtual_size.width <= 80
        assert shown(pilot, "#title") == "Queue   0 running · 4 queued"


async def test_nothing_is_foretold_without_a_runner(open_app: OpenApp, queued: Cockpit) -> None:
    async with open_app(queued) as pilot:
        await pilot.press("u")
        await until_rows(pilot, *BEFORE)
        await until(pilot, lambda: starts(pilot) == {"1": "", "2": "–", "3": "–", "4": "–"}, "no start")

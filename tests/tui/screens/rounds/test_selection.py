"""Actions on the selected rounds, on a screen without a table."""

from __future__ import annotations

from functools import partial

import pytest

from engine.api import Cockpit
from engine.errors import RoundError, StoreError
from engine.spec.round import Round, Status
from tests.support.pilot import on_screen, until
from tests.support.rounds import make_round
from tests.support.stand_in import StandInApp, StandInScreen
from tui.screens.rounds.selection import rounds_are

ALLOWED = {
    Status.HELD: {"open", "stop", "hold", "remove"},
    Status.QUEUED: {"open", "stop", "hold", "remove"},
    Status.RUNNING: {"open", "stop"},
    Status.STOPPING: {"open"},
    Status.FINISHED: {"open", "remove"},
    Status.STOPPED: {"open", "resume", "remove"},
    Status.FAILED: {"open", "resume", "remove"},
    Status.INTERRUPTED: {"open", "resume", "remove"},
    Status.IMPORTED: {"open", "remove"},
}


@pytest.fixture
def cockpit(idle_cockpit: Cockpit) -> Cockpit:
    """Three finished rounds."""
    for _ in range(3):
        idle_cockpit.store.add(lambda number: make_round(number))
    return idle_cockpit


def numbers(cockpit: Cockpit) -> list[int]:
    return [round_.number for round_ in cockpit.store.rounds()]


@pytest.mark.parametrize("status", Status)
def test_status_decides_which_keys_are_allowed(idle_cockpit: Cockpit, status: Status) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, status))
    screen = StandInScreen(idle_cockpit, [1])
    actions = ("open", "stop", "resume", "hold", "remove")
    assert {action for action in actions if screen.check_action(action, ())} == ALLOWED[status]


def test_no_key_is_allowed_where_no_round_is_selected(idle_cockpit: Cockpit) -> None:
    screen = StandInScreen(idle_cockpit)
    actions = ("open", "stop", "resume", "hold", "remove")
    assert [screen.check_action(action, ()) for action in actions] == [None] * len(actions)


async def test_deleted_rounds_come_back_with_undo(cockpit: Cockpit) -> None:
    screen = StandInScreen(cockpit, [1, 3])
    app = StandInApp(screen)
    async with app.run_test() as pilot:
        screen.action_remove()
        await until(pilot, lambda: "rounds 1 and 3 are deleted: press z to undo" in app.notices, "the notice")
        assert numbers(cockpit) == [2]
        screen.action_undo()
        await until(pilot, lambda: "rounds 1 and 3 are restored" in app.notices, "the notice")
        assert numbers(cockpit) == [1, 2, 3]
        assert not screen.undoable


async def test_deletion_says_how_much_the_trash_occupies_if_it_is_much(
    cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.api.run_bytes", lambda *_: 2 * 1024**3)
    screen = StandInScreen(cockpit, [1, 3])
    app = StandInApp(screen)
    sentence = "rounds 1 and 3 are deleted: press z to undo; the trash occupies 4.0 GiB: `loratui trash empty` frees it"
    async with app.run_test() as pilot:
        screen.action_remove()
        await until(pilot, lambda: sentence in app.notices, "the notice")


def has_rounds(cockpit: Cockpit, expected: list[int]) -> bool:
    return numbers(cockpit) == expected


async def test_rounds_that_a_filter_hides_are_deleted_only_after_a_yes(cockpit: Cockpit) -> None:
    screen = StandInScreen(cockpit, [1, 3], hidden=[3])
    async with StandInApp(screen).run_test() as pilot:
        for key, remaining in (("n", [1, 2, 3]), ("y", [2])):
            screen.action_remove()
            await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
            await pilot.press(key)
            await until(pilot, partial(has_rounds, cockpit, remaining), f"the rounds {remaining}")


async def test_store_that_refuses_in_the_middle_is_asked_again_for_the_rest(cockpit: Cockpit) -> None:
    screen = StandInScreen(cockpit, [1, 2, 3])
    full = True
    acted: list[int] = []

    def act(round_: Round) -> Round:
        if full and round_.number == 2:
            raise StoreError("the disk is full")
        acted.append(round_.number)
        return round_

    app = StandInApp(screen)
    async with app.run_test() as pilot:
        screen.do_to_each(screen.targets, act, "done", undo=lambda round_: round_)
        await until(pilot, lambda: screen.can_try_again, "the refusal")
        assert acted == [1]
        assert [[round_.number for round_ in change.rounds] for change in screen.undoable] == [[1]]
        full = False
        screen.try_again()
        await until(pilot, lambda: "done: press z to undo" in app.notices, "the rest")
        assert acted == [1, 2, 3]
        assert [[round_.number for round_ in change.rounds] for change in screen.undoable] == [[1], [2, 3]]


async def test_error_of_one_round_is_shown_and_ends_it(cockpit: Cockpit) -> None:
    screen = StandInScreen(cockpit, [1, 2])

    def act(round_: Round) -> Round:
        raise RoundError(f"round {round_.number} runs")

    app = StandInApp(screen)
    async with app.run_test() as pilot:
        screen.do_to_each(screen.targets, act, "done")
        await until(pilot, lambda: bool(app.notices), "the error")
        assert app.notices == ["round 1 runs"]
        assert not screen.can_try_again


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (0, "no round is"),
        (1, "round 1 is"),
        (2, "rounds 1 and 2 are"),
        (4, "rounds 1, 2, 3 and 4 are"),
        (5, "5 rounds are"),
    ],
)
def test_rounds_are_named_or_counted(count: int, sentence: str) -> None:
    assert rounds_are([make_round(number) for number in range(1, count + 1)]) == sentence

"""The keys that edit name, note and tags of a round, delete rounds, or undo that."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.errors import StoreError
from engine.files.drafts import Drafts
from engine.spec.round import Round, Status
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.screens.rounds.screen import RoundsScreen
from tui.screens.rounds.table import RoundTable
from tui.widgets.line_editor import LineEditor


@pytest.fixture
def three(idle_cockpit: Cockpit) -> Cockpit:
    """Rounds 1 to 3, of which the last is under the cursor."""
    for _ in range(3):
        idle_cockpit.store.add(lambda number: make_round(number, name="old", note="first\nsecond", tags=("base",)))
    return idle_cockpit


def numbers(pilot: AppPilot) -> list[object]:
    return list(pilot.app.screen.query_one(RoundTable).rows)


def editor(pilot: AppPilot) -> LineEditor | None:
    screen = pilot.app.screen
    assert isinstance(screen, RoundsScreen)
    return screen.line.current


async def until_numbers(pilot: AppPilot, *expected: int) -> None:
    await until(pilot, lambda: numbers(pilot) == list(expected), f"the rounds {expected}")


async def until_closed(pilot: AppPilot) -> None:
    await until(pilot, lambda: editor(pilot) is None, "the line's end")


@pytest.mark.parametrize(
    ("key", "field", "typed", "value"),
    [
        ("i", "note", " more", "first\nsecond more"),
        ("R", "name", "er", "older"),
        ("number_sign", "tags", " fast base", ("base", "fast")),
    ],
)
async def test_line_is_edited_in_place_and_z_restores_the_old_text(
    open_app: OpenApp, three: Cockpit, key: str, field: str, typed: str, value: object
) -> None:
    before = getattr(three.store.get(3), field)
    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press(key, *typed, "enter")  # at once: the first letter is typed too
        await until_closed(pilot)
        assert getattr(three.store.get(3), field) == value
        assert three.store.get(2) == make_round(
            2, name="old", note="first\nsecond", tags=("base",), id=three.store.get(2).id
        )
        assert pilot.app.focused is pilot.app.screen.query_one(RoundTable)
        await pilot.press("z")
        await until(pilot, lambda: getattr(three.store.get(3), field) == before, "the old one")


async def test_escape_leaves_the_line_as_it_was(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("i", *"nonsense", "escape")
        await until_closed(pilot)
        assert three.store.get(3).note == "first\nsecond"


async def test_typed_text_stays_until_the_store_saves_it(
    open_app: OpenApp, three: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Round:
        raise StoreError("the disk is full")

    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        with monkeypatch.context() as patch:
            patch.setattr(three.store, "update", refuse)
            await pilot.press("i", *" kept", "enter")
            await until(pilot, lambda: "the disk is full" in shown(pilot, ".line-hint"), "the refusal")
            line = editor(pilot)
            assert line is not None
            assert line.text == "first\nsecond kept"
            three.store.add(lambda number: make_round(number))  # and the table changes beneath it
            await until_numbers(pilot, 1, 2, 3, 4)
        await pilot.press("enter")
        await until_closed(pilot)
        assert three.store.get(3).note == "first\nsecond kept"


async def test_leaving_asks_while_a_line_is_kept_nowhere(
    open_app: OpenApp, three: Cockpit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    three.drafts = Drafts(three.workspace.root)
    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("i", "x", "tab", "q")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")


async def test_refused_tag_is_explained_in_the_line(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        token = "hf_" + "a1B2" * 9
        await pilot.press("number_sign", "space", *token, "enter")
        await until(pilot, lambda: "token" in shown(pilot, ".line-hint"), "the refusal")
        assert three.store.get(3).tags == ("base",)


async def test_d_deletes_at_once_and_z_brings_it_back_to_its_place(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("k", "d")
        await until_numbers(pilot, 1, 3)
        assert any("round 2 is deleted: press z to undo" in notice.message for notice in pilot.app._notifications)
        assert pilot.app.screen.query_one(RoundTable).selected_number == 3
        await pilot.press("z")
        await until_numbers(pilot, 1, 2, 3)


async def test_marked_rounds_are_deleted_together_and_come_back_together(open_app: OpenApp, three: Cockpit) -> None:
    three.store.update(2, status=Status.RUNNING)
    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("g", "space", "space", "space", "d")
        await until_numbers(pilot, 2)  # one that runs is not deleted
        await pilot.press("z")
        await until_numbers(pilot, 1, 2, 3)


async def test_marked_rounds_out_of_sight_are_deleted_only_after_a_yes(open_app: OpenApp, three: Cockpit) -> None:
    three.store.update(3, name="new")
    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("g", "space", "G", "space", "slash", *"old", "enter")
        await until_numbers(pilot, 1, 2)
        await pilot.press("d")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        assert "Round 3 is marked and hidden by the filter. Delete all 2" in shown(pilot, "ConfirmScreen Static")
        await pilot.press("n", "escape")
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("slash", *"old", "enter", "d")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("y")
        await until_numbers(pilot, 2)
        await until(pilot, lambda: [round_.number for round_ in three.store.rounds()] == [2], "both deletions")


async def test_several_deletions_are_undone_the_last_first(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("d")
        await until_numbers(pilot, 1, 2)
        await pilot.press("d")
        await until_numbers(pilot, 1)
        await pilot.press("z")
        await until_numbers(pilot, 1, 2)
        await pilot.press("z")
        await until_numbers(pilot, 1, 2, 3)


async def test_nothing_can_be_changed_where_the_workspace_is_read_only(open_app: OpenApp, three: Cockpit) -> None:
    watching = Cockpit(three.workspace, lambda _: None, readonly=True)
    async with open_app(watching) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("i", "R", "number_sign", "p", "d", "z")
        await pilot.pause()
        assert editor(pilot) is None
        assert [round_.pinned for round_ in three.store.rounds()] == [False] * 3
        await pilot.press("slash", *"old", "enter")  # what only looks is there
        await until_numbers(pilot, 1, 2, 3)

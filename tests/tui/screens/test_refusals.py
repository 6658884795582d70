"""A key that does not apply says why, on every screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.round import Result, Round, Status
from engine.store.round_store import RoundStore
from scripts.scenes import SCENES, AppPilot, play, stage
from tests.support.pilot import OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.app import LoratuiApp
from tui.settings.bindings import actions_on
from tui.settings.config import Config


def messages(pilot: AppPilot) -> list[str]:
    return [notice.message for notice in pilot.app._notifications]


def store_with(workspace: Workspace, *rounds: Round) -> Cockpit:
    RoundStore(workspace).create(rounds)
    return Cockpit(workspace, lambda _: None)


async def pressed(pilot: AppPilot, *keys: str) -> str:
    """Return the only message after these keys."""
    pilot.app.clear_notifications()
    await pilot.press(*keys)
    await until(pilot, lambda: bool(messages(pilot)), f"a message after {keys}")
    (message,) = messages(pilot)
    return message


async def test_key_that_the_status_of_a_round_refuses_says_why(open_app: OpenApp, empty_directory: Path) -> None:
    finished = make_round(1, result=Result(perplexity=3.0))
    cockpit = store_with(Workspace(empty_directory), finished, make_round(2, Status.HELD))
    async with open_app(cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        await pilot.press("g")
        assert await pressed(pilot, "x") == "round 1 is finished: only a round that runs or waits can be stopped"
        assert "only a stopped, failed or interrupted round can be resumed" in await pressed(pilot, "r")
        assert "only a round that waits in the queue can be held" in await pressed(pilot, "w")
        await pilot.press("slash", *"nothing", "enter")
        for key in ("d", "x", "r", "w", "i", "R", "number_sign", "p", "t", "b", "a", "y", "enter", "space"):
            assert "no round is selected" in await pressed(pilot, key)


async def test_key_for_rounds_says_that_there_are_none(open_app: OpenApp, empty_directory: Path) -> None:
    async with open_app(store_with(Workspace(empty_directory))) as pilot:
        await until(pilot, lambda: "No rounds yet" in shown(pilot, "#empty"), "the empty table")
        for key in ("d", "x", "slash", "e", "c", "v", "a", "i"):
            assert await pressed(pilot, key) == "there are no rounds yet: press n to start one"


async def test_sentence_names_the_key_that_a_person_chose(workspace: Workspace, tmp_path: Path) -> None:
    cockpit = Cockpit(workspace, lambda _: None)
    settings = Config(keys={"rounds.new": "ctrl+n", "app.quit": "Q"})
    async with LoratuiApp(cockpit, tmp_path, settings).run_test() as pilot:
        await until(pilot, lambda: "No rounds yet" in shown(pilot, "#empty"), "the empty table")
        assert await pressed(pilot, "d") == "there are no rounds yet: press ^n to start one"
        assert await pressed(pilot, "ctrl+c") == "Q leaves loratui; training goes on"


async def test_workspace_open_for_reading_says_so(workspace: Workspace, store: RoundStore, tmp_path: Path) -> None:
    store.add(lambda number: make_round(number))
    cockpit = Cockpit(workspace, lambda _: None, readonly=True)
    async with LoratuiApp(cockpit, tmp_path).run_test() as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        for key in ("d", "n", "i", "R", "p", "z", "e"):
            assert "open for reading only" in await pressed(pilot, key)


async def test_ctrl_c_names_the_key_that_leaves_also_in_a_field(open_app: OpenApp, empty_directory: Path) -> None:
    async with open_app(store_with(Workspace(empty_directory), make_round(1))) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        assert await pressed(pilot, "ctrl+c") == "q leaves loratui; training goes on"
        await pilot.press("slash")
        assert await pressed(pilot, "ctrl+c") == "outside this field, q leaves loratui; training goes on"
        await pilot.press(*"abc", "shift+home", "ctrl+c")
        assert pilot.app.clipboard == "abc"
        await pilot.press("escape", "question_mark")
        await until(pilot, lambda: on_screen(pilot, "HelpScreen"), "the help")
        assert await pressed(pilot, "ctrl+c") == "q leaves loratui; training goes on"


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", ["rounds", "queue", "live", "samples", "compare", "judge", "talk", "lineage"])
async def test_no_refused_key_is_mute(name: str, tmp_path: Path) -> None:
    """Every action that a screen knows and refuses now says something when its key is pressed."""
    with stage(tmp_path / "rounds"):
        async with play(SCENES[name], tmp_path / "rounds", (120, 36)) as pilot:
            screen = pilot.app.screen
            reached = [*(screen.focused.ancestors_with_self if screen.focused is not None else [screen]), pilot.app]
            refused = [action for action in actions_on(screen) if not action.enabled and action.node in reached]
            for action in refused:
                sentence = await pressed(pilot, action.keys[0])
                assert "does nothing here now" not in sentence, f"{action.binding.id} has no reason of its own"

"""Every action has a key and a sentence, from one table; a config file may give it another key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.command import CommandPalette
from textual.events import Resize
from textual.geometry import Size
from textual.widgets import OptionList

from engine.api import Cockpit
from engine.spec.round import Status
from scripts.keys import PART, tables
from tests.support.hostile import captured
from tests.support.hostile_screens import CASES
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.app import LoratuiApp
from tui.cli import main
from tui.keymap_table import all_kinds, table_of_keys
from tui.screens.dialogs.help import HelpScreen
from tui.settings.bindings import actions_on, clashes_on, key_name
from tui.settings.config import Config


@asynccontextmanager
async def opened(cockpit: Cockpit, directory: Path, **keys: str) -> AsyncIterator[AppPilot]:
    """The app with `keys` remapped, `__` in an id for the dot."""
    settings = Config(keys={name.replace("__", "."): key for name, key in keys.items()})
    app = LoratuiApp(cockpit, directory, settings)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        yield pilot


@pytest.fixture
def one_round(idle_cockpit: Cockpit) -> Cockpit:
    idle_cockpit.store.add(lambda number: make_round(number))
    return idle_cockpit


def notices(pilot: AppPilot) -> str:
    return " ".join(shown(pilot, "#banner").split())


def test_each_action_has_an_id_a_name_and_a_sentence() -> None:
    nameless = [
        (kind.__name__, binding)
        for kind in all_kinds(LoratuiApp)
        for binding in kind.__dict__["BINDINGS"]
        if not (isinstance(binding, Binding) and binding.id and binding.description and binding.tooltip)
    ]
    assert nameless == []


def test_no_function_or_alt_key_is_needed() -> None:
    keys = [key for _, _, keys in table_of_keys(LoratuiApp) for key in keys]
    assert len(keys) > 30
    assert [key for key in keys if "alt+" in key or (key[0] == "f" and key[1:].isdigit())] == []


def test_ids_are_unique_and_none_begins_another() -> None:
    """So that each can stand in a TOML file as it is."""
    ids = [binding.id or "" for kind in all_kinds(LoratuiApp) for binding in kind.__dict__["BINDINGS"]]
    assert len(set(ids)) == len(ids)
    assert [(first, second) for first in ids for second in ids if second.startswith(f"{first}.")] == []


@pytest.mark.parametrize("screen", sorted(CASES.keys() - {"TooSmallScreen"}))  # which goes where there is room
async def test_no_two_actions_of_a_screen_have_one_key(idle_cockpit: Cockpit, tmp_path: Path, screen: str) -> None:
    as_they_are = {binding.id or "": ",".join(keys) for _, binding, keys in table_of_keys(LoratuiApp)}
    async with captured(idle_cockpit, tmp_path, (120, 40)) as app:
        await app.drawn()
        await CASES[screen][0][0](app, "text")
        await app.drawn()
        assert type(app.screen).__name__ == screen
        assert clashes_on(app.screen, as_they_are) == {}


def test_printed_table_is_a_config_file_with_every_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main.main(["keys", "--workspace", str(tmp_path)]) == 0
    read = tomllib.loads(capsys.readouterr().out)["keys"]
    for _, binding, keys in table_of_keys(LoratuiApp):
        section, _, name = (binding.id or "").partition(".")
        written = read[section][name]
        assert tuple(map(key_name, [written] if isinstance(written, str) else written)) == keys


def test_page_of_keys_lists_the_keys_as_they_are() -> None:
    page = PART.page.read_text(encoding="utf-8")
    assert PART.is_written(tables()), "python -m scripts.keys writes the page again"
    for _, binding, keys in table_of_keys(LoratuiApp):
        (row,) = (line for line in page.splitlines() if line.endswith(f" `{binding.id}` |"))
        assert tuple(key_name(key) for key in re.findall("`([^`]+)`", row.split(" | ")[0])) == keys


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("n", "n"), ("N", "N"), ("?", "question_mark"), ("-", "minus"), ("Ctrl+S", "ctrl+s"), ("esc", "escape"),
        ("shift+up", "shift+up"), ("space", "space"), ("question_mark", "question_mark"), ("f5", "f5"),
        ("ctlr+s", None), ("fast", None), ("", None),
    ],
)  # fmt: skip
def test_keys_are_read_as_people_write_them(text: str, name: str | None) -> None:
    assert key_name(text) == name


async def test_remapped_key_does_it_and_is_shown_in_footer_help_and_palette(one_round: Cockpit, tmp_path: Path) -> None:
    async with opened(one_round, tmp_path, rounds__new="N", app__help="ctrl+h") as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("n")
        await pilot.pause()
        assert on_screen(pilot, "RoundsScreen")
        keys = {key: active.binding.id for key, active in pilot.app.screen.active_bindings.items()}
        assert keys["N"] == "rounds.new" and "n" not in keys
        actions = {action.binding.id: action.shown_keys(pilot.app) for action in actions_on(pilot.app.screen)}
        assert (actions["rounds.new"], actions["app.help"]) == ("N", "^h")
        await pilot.press("ctrl+h")
        await until(pilot, lambda: on_screen(pilot, "HelpScreen"), "the help")
        screen = pilot.app.screen
        assert isinstance(screen, HelpScreen)
        rows = [row for _, group in screen._groups for row in group]
        assert ("N", "Start a new round from a preset or the selected round") in rows
        await pilot.press("escape", "N")
        await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")


async def test_key_that_is_taken_is_told_and_leaves_both_actions_theirs(one_round: Cockpit, tmp_path: Path) -> None:
    async with opened(one_round, tmp_path, rounds__new="e") as pilot:
        told = "config.toml gives keys.rounds.new the key 'e', which keys.rounds.export has (Export), so the"
        await until(pilot, lambda: told in notices(pilot), "the clash")
        keys = {active.binding.id: key for key, active in pilot.app.screen.active_bindings.items()}
        assert (keys["rounds.new"], keys["rounds.export"]) == ("n", "e")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: notices(pilot) == "", "no banner")


async def test_key_that_is_taken_on_another_screen_is_told_there(one_round: Cockpit, tmp_path: Path) -> None:
    async with opened(one_round, tmp_path, live__samples="x") as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        assert notices(pilot) == ""
        await pilot.press("enter")
        await until(pilot, lambda: "which keys.live.stop has" in notices(pilot), "the clash")
        keys = {active.binding.id: key for key, active in pilot.app.screen.active_bindings.items()}
        assert keys["live.samples"] == "s"


async def test_key_that_the_screen_around_a_widget_has_is_told(one_round: Cockpit, tmp_path: Path) -> None:
    async with opened(one_round, tmp_path, lineage__down="n") as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("a")
        await until(pilot, lambda: "which keys.lineage.new has (New)" in notices(pilot), "the clash")
        keys = {active.binding.id: key for key, active in pilot.app.screen.active_bindings.items()}
        assert (keys["lineage.new"], keys["lineage.down"]) == ("n", "down")


async def test_letter_that_would_be_typed_into_a_field_is_no_key_of_the_form(
    one_round: Cockpit, tmp_path: Path
) -> None:
    async with opened(one_round, tmp_path, edit__start="S") as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("n", "enter")
        await until(pilot, lambda: "which is text in the fields" in notices(pilot), "the refusal")
        keys = {active.binding.id: key for key, active in pilot.app.screen.active_bindings.items()}
        assert keys["edit.start"] == "ctrl+s"


async def test_two_actions_may_change_keys(one_round: Cockpit, tmp_path: Path) -> None:
    async with opened(one_round, tmp_path, rounds__new="e", rounds__export="n") as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        keys = {active.binding.id: key for key, active in pilot.app.screen.active_bindings.items()}
        assert (keys["rounds.new"], keys["rounds.export"]) == ("e", "n")
        assert notices(pilot) == ""


async def test_unknown_action_and_unreadable_key_are_told(one_round: Cockpit, tmp_path: Path) -> None:
    async with opened(one_round, tmp_path, rounds__fly="n", rounds__new="ctlr+n") as pilot:
        await until(pilot, lambda: "sets keys.rounds.fly, but no action has this name" in notices(pilot), "the id")
        assert "gives keys.rounds.new 'ctlr+n', which is not a key" in notices(pilot)


@pytest.mark.parametrize("key", ["colon", "ctrl+p"])
async def test_palette_finds_an_action_by_its_sentence_and_does_it(
    open_app: OpenApp, one_round: Cockpit, key: str
) -> None:
    async with open_app(one_round) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press(key)
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette), "the palette")
        await pilot.press(*"runs and waits")
        options = pilot.app.screen.query_one(OptionList)
        await until(pilot, lambda: options.option_count == 1 and options.highlighted == 0, "one action")
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")


async def test_palette_is_laid_out_only_for_the_size_of_the_terminal(
    open_app: OpenApp, one_round: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would change forever between two sizes of which it heard at once."""
    async with open_app(one_round) as pilot:
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette), "the palette")
        sizes: list[Size] = []
        monkeypatch.setattr(pilot.app.screen, "_screen_resized", sizes.append)
        pilot.app.screen.post_message(Resize(Size(40, 10), Size(40, 10)))
        await pilot.pause()
        assert sizes == []


async def test_palette_offers_only_what_can_be_done(open_app: OpenApp, one_round: Cockpit) -> None:
    async with open_app(one_round) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        offered = {action.binding.id: action.enabled for action in actions_on(pilot.app.screen)}
        assert offered["rounds.new"] and not offered["round.stop"], "a finished round is not stopped"
        assert "app.again" not in offered, "nothing was refused"
        one_round.store.add(lambda number: make_round(number, Status.QUEUED))
        await until(pilot, lambda: "2 rounds" in shown(pilot, "#title"), "the second round")
        await pilot.press("G")
        await pilot.pause()
        offered = {action.binding.id: action.enabled for action in actions_on(pilot.app.screen)}
        assert offered["round.stop"]


async def test_theme_is_chosen_in_the_palette_and_remembered(
    one_round: Cockpit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with opened(one_round, tmp_path) as pilot:
        assert pilot.app.theme == "loratui-dark"
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette), "the palette")
        await pilot.press(*"theme loratui-light")
        await until(pilot, lambda: pilot.app.screen.query_one(OptionList).highlighted == 0, "the theme")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.theme == "loratui-light", "the theme")
    assert LoratuiApp(one_round, tmp_path, Config()).theme == "loratui-light"
    assert LoratuiApp(one_round, tmp_path, Config(theme="loratui-contrast")).theme == "loratui-contrast"

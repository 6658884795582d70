"""A person's own presets, where rounds start from: in the app and on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import OptionList

from engine.api import Cockpit
from engine.spec.presets import Preset, save_preset
from engine.spec.schema import Spec
from tests.support.pilot import OpenApp, on_screen, shown, until
from tui.cli import main


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nano_spec: Spec) -> Path:
    """Where they lie; there is one that is whole and one that is broken."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = save_preset("mine", Preset("what I start with", nano_spec))
    (path.parent / "bad.json").write_text("{")
    return path.parent


async def test_choice_offers_those_that_are_whole_and_tells_of_the_others(
    open_app: OpenApp, idle_cockpit: Cockpit, own: Path
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")
        told = shown(pilot, ".broken-preset")
        assert str(own / "bad.json") in told and "correct or delete it" in told
        await pilot.press("end", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert "from preset mine" in shown(pilot, "#title")


async def test_choice_and_form_name_the_source_also_of_a_form_that_is_continued(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    save_preset("theirs", Preset("a recipe", nano_spec, "a paper\x1b[2J"))
    async with open_app(idle_cockpit) as pilot:
        for key in ("end", "home"):
            await pilot.press("n")
            await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")
            options = pilot.app.screen.query_one(OptionList)
            last = options.get_option_at_index(options.option_count - 1)
            assert str(last.prompt) == "theirs\na recipe\nafter a paper␛[2J"
            await pilot.press(key, "enter")
            await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
            assert shown(pilot, "#title") == "New round  from preset theirs · after a paper␛[2J"
            await pilot.press("1", "escape")
            await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")


def test_command_line_takes_them(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    words = ["new", "--hold", "--preset", "mine", "--workspace", str(idle_cockpit.workspace.root)]
    assert main.main(words, lambda _: None) == 0
    assert (idle_cockpit.store.get(1).spec, idle_cockpit.store.get(1).name) == (nano_spec, "mine")


@pytest.mark.parametrize(("name", "told"), [("bad", "is not valid"), ("none", "choose one of nano")])
def test_command_line_says_what_is_wrong(
    idle_cockpit: Cockpit, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    words = ["new", "--preset", name, "--workspace", str(idle_cockpit.workspace.root)]
    assert main.main(words, lambda _: None) == 2
    assert told in capsys.readouterr().err
    assert idle_cockpit.store.rounds() == []

"""What is copied, and how it reaches the clipboard of a terminal on the other side of SSH."""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from textual.widgets import OptionList

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.report.export import to_markdown
from engine.spec.overrides import spec_from_settings
from engine.spec.presets import load_preset
from engine.spec.round import Result
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import change_spec, make_round, make_spec
from tests.support.terminal import ENTER, Terminal
from tui.screens.dialogs.copy import copies_of
from tui.terminal.clipboard import osc_52

LORATUI = str(Path(sys.executable).with_name("loratui"))
OSC_52 = re.compile(rb"\x1b\]52;c?;([A-Za-z0-9+/=]*)\x07")


def settings(line: str) -> list[str]:
    return [word for word in shlex.split(line) if word != "--set"]


def test_set_line_is_against_what_the_round_came_from(workspace: Workspace) -> None:
    parent = make_round(1, spec=make_spec(), result=Result(adapter_dir="runs/1/adapter"))
    child = make_round(2, spec=change_spec(parent.spec, lora__r=64), parent=1)
    nano = make_round(3, spec=change_spec(load_preset("nano").spec, lora__r=64), name="nano")
    alone = make_round(4, spec=make_spec(lora__r=64), name="mine")
    rounds = [parent, child, nano, alone]
    copies = {
        item.number: {copy.title: copy.text for copy in copies_of(item, rounds, rounds[:2], workspace)}
        for item in rounds
    }
    assert copies[2]["--set line against round 1"] == "--set lora.r=64"
    assert copies[3]["--set line against preset nano"] == "--set lora.r=64"
    line = copies[4]["--set line against the defaults"]
    assert spec_from_settings(None, settings(line)) == alone.spec
    for item in rounds:
        assert copies[item.number]["table of 2 rounds as Markdown"] == to_markdown(rounds[:2])


def test_paths_are_offered_once_they_exist(workspace: Workspace) -> None:
    round_ = make_round(1)
    run = workspace.run_dir(round_.id)
    round_ = msgspec.structs.replace(round_, result=Result(adapter_dir=f"runs/{round_.id}/adapter"))

    def paths() -> dict[str, str]:
        copies = copies_of(round_, [round_], [round_], workspace)
        return {copy.title: copy.text for copy in copies if copy.title.startswith("path")}

    assert paths() == {}
    run.path.mkdir(parents=True)
    assert paths() == {"path of the run directory": str(run.path)}
    run.adapter.mkdir()
    assert paths()["path of the adapter"] == str(run.adapter)


async def choose(pilot: AppPilot, title: str) -> None:
    """Press y and take the copy whose title begins so."""
    await pilot.press("y")
    await until(pilot, lambda: on_screen(pilot, "CopyScreen"), "the choice")
    options = pilot.app.screen.query_one(OptionList)
    prompts = [str(options.get_option_at_index(index).prompt) for index in range(options.option_count)]
    index = next(index for index, prompt in enumerate(prompts) if prompt.startswith(title))
    await pilot.press(*["j"] * index, "enter")
    await pilot.pause()


@pytest.mark.parametrize("where", ["table", "queue", "run"])
async def test_y_offers_what_can_be_copied(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, where: str
) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        if where != "table":
            await pilot.press("u" if where == "queue" else "enter")
            name = "QueueScreen" if where == "queue" else "LiveScreen"
            await until(pilot, lambda: on_screen(pilot, name), name)
        await choose(pilot, "path of the run directory")
        assert pilot.app.clipboard == str(idle_cockpit.workspace.run_dir(round_.id).path)
        await choose(pilot, "table of 1 round as Markdown")
        assert pilot.app.clipboard == to_markdown(idle_cockpit.store.rounds())
        await pilot.press("y")
        await until(pilot, lambda: on_screen(pilot, "CopyScreen"), "the choice")
        await pilot.press("escape")
        assert pilot.app.clipboard == to_markdown(idle_cockpit.store.rounds())


async def test_table_too_long_for_a_terminal_is_told(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    for _ in range(40):
        idle_cockpit.store.add(lambda number: make_round(number, note="why " * 500))
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        await choose(pilot, "table of 40 rounds")
        assert pilot.app.clipboard == ""
        assert any("too long for a terminal's clipboard" in note.message for note in pilot.app._notifications)


def test_screen_passes_a_long_text_on_in_pieces() -> None:
    """Without their wrapping (DCS ... ST) the pieces are the sequence that a terminal is sent."""
    text = "ä table\n" * 300
    plain, wrapped = osc_52(text, {}), osc_52(text, {"STY": "1.pts"})
    pieces = re.findall(r"\x1bP([^\x1b]*|\x1b\][^\x1b]*)\x1b\\", wrapped)
    assert "".join(pieces) == plain
    assert base64.b64decode(OSC_52.findall(plain.encode())[0]).decode() == text


def copy_path(terminal: Terminal) -> bytes:
    """Copy the path of the run directory of the one round, leave, and return what the terminal was sent."""
    terminal.wait_for("1 round")
    terminal.type("y")
    terminal.wait_for("enter copy")
    terminal.type(ENTER)
    terminal.wait_for("copied: path of the run directory")
    terminal.wait_until(lambda _: bool(OSC_52.findall(terminal.written)), "the sequence")
    (copied,) = OSC_52.findall(terminal.written)
    terminal.type("q")
    terminal.wait_for_end()
    return base64.b64decode(copied)


@pytest.mark.parametrize("inside", ["nothing", "tmux", "screen"])
def test_terminal_is_told_by_osc_52(
    idle_cockpit: Cockpit, nano_spec: Spec, inside: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also through tmux and screen as they come, without a line in their config files."""
    if inside != "nothing" and shutil.which(inside) is None:
        pytest.skip(f"{inside} is not installed")
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMUX_TMPDIR", str(tmp_path))
    monkeypatch.setenv("SCREENDIR", str(tmp_path / "screen"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    (tmp_path / "screen").mkdir(mode=0o700)
    around = {
        "nothing": [],
        "tmux": ["tmux", "-f", os.devnull, "new-session"],
        "screen": ["screen", "-c", os.devnull],
    }[inside]
    round_ = idle_cockpit.queue(nano_spec, hold=True)
    with Terminal([*around, LORATUI, "--readonly"], idle_cockpit.workspace.root) as terminal:
        copied = copy_path(terminal)
    assert copied.decode() == str(idle_cockpit.workspace.run_dir(round_.id).path)


def test_path_that_is_not_utf8_is_copied_byte_by_byte(tmp_path: Path, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    round_ = idle_cockpit.queue(nano_spec, hold=True)
    root = idle_cockpit.workspace.root.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with Terminal([LORATUI, "--readonly"], root) as terminal:
        copied = copy_path(terminal)
    assert copied == os.fsencode(root / "runs" / round_.id)

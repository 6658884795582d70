"""What version 0.1.0 left on a disk works unchanged: workspace, config file, keys, presets, columns, conversations.

`tests/data/version_0.1.0` was written by that version: `workspace`, `config` and `state` are a person's directories,
`printed` is what its commands printed of them.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.api import Cockpit
from engine.chat.history import find_conversations
from engine.files.paths import Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Finished, Started, Step
from engine.spec.presets import presets
from tests.support.forking import run_forked
from tests.support.pilot import OpenApp, on_screen, until
from tests.support.processes import ROOT
from tui.cli.main import main
from tui.configured_app import ConfiguredApp
from tui.screens.rounds.table import RoundTable
from tui.settings.config import config
from tui.widgets.line_editor import LineEditor

OLD = ROOT / "tests" / "data" / "version_0.1.0"
COMMANDS = {
    **{f"show-{number}": ["show", str(number)] for number in (1, 6, 7, 8, 9)},
    **{name: [name] for name in ("ls", "queue", "ranking", "lineage")},
}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the workspace, with a copy of the person's config and state directories in force."""
    for name in ("workspace", "config", "state"):
        shutil.copytree(OLD / name, tmp_path / name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config.cache_clear()
    return Workspace(tmp_path / "workspace")


@pytest.fixture(autouse=True)
def _later_tests_read_their_own_config() -> Iterator[None]:
    yield
    config.cache_clear()


def run(workspace: Workspace, *words: str) -> None:
    assert main([*words, "--workspace", str(workspace.root)], lambda _: None) == 0


def lost(before: Any, after: Any, where: str = "") -> list[str]:
    """The values of the JSON document `before` that `after` lacks or has otherwise."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            text for key, value in before.items() for text in lost(value, after.get(key, "missing"), f"{where}.{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [text for place, value in enumerate(before) for text in lost(value, after[place], f"{where}[{place}]")]
    if isinstance(before, float) and isinstance(after, float) and math.isclose(before, after, rel_tol=1e-12):
        return []  # another processor sums in another order
    return [] if before == after else [f"{where}: {before!r} is {after!r} now"]


@pytest.mark.parametrize("printed", COMMANDS)
def test_command_prints_all_that_it_printed(old: Workspace, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(old, *COMMANDS[printed], "--json")
    before = json.loads((OLD / "printed" / f"{printed}.json").read_text())
    assert lost(before, json.loads(capsys.readouterr().out)) == []


def test_export_has_the_same_values(old: Workspace, tmp_path: Path) -> None:
    run(old, "export", "--format", "csv", "-o", str(tmp_path / "export.csv"))
    before, after = (
        list(csv.DictReader(io.StringIO(path.read_text())))
        for path in (OLD / "printed" / "export.csv", tmp_path / "export.csv")
    )
    assert lost(before, after) == []


def test_nothing_is_changed_by_looking(old: Workspace) -> None:
    before = {path: path.read_bytes() for path in old.root.rglob("*") if path.is_file()}
    for words in COMMANDS.values():
        run(old, *words)
    run(old, "diff", "6", "7")
    assert {path: path.read_bytes() for path in before} == before


def test_own_preset_starts_a_round(old: Workspace) -> None:
    cockpit = Cockpit(old, lambda _: None)
    spec = next(item.spec for item in cockpit.store.rounds() if item.number == 7)
    assert presets()["my-nano"].spec == spec
    run(old, "new", "--preset", "my-nano", "--hold")
    assert next(item.spec for item in cockpit.store.rounds() if item.number == 10) == spec


def test_conversation_is_read_back(old: Workspace) -> None:
    (entry,) = (entry for entry in find_conversations(old) if entry.path.name == "colours.json")
    assert entry.conversation is not None
    assert [speaker.number for speaker in entry.conversation.speakers] == [6]
    messages = entry.conversation.example_of(entry.conversation.speakers[0].key)
    assert [(message.role, message.content) for message in messages] == [
        *(("user", "Name a colour."), ("assistant", "Blue."))
    ]


def test_stopped_round_goes_on_from_its_checkpoint(old: Workspace) -> None:
    run(old, "resume", "9")
    (directory,) = old.runs_dir.glob("0009-*")
    assert run_forked([sys.executable, "-P", "-m", "engine.training", str(directory), "--resume"]).returncode == 0
    events = list(read_events(directory / "events.jsonl"))
    assert [event.resumed_from for event in events if isinstance(event, Started)] == [None, 14]
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 35))
    assert isinstance(events[-1], Finished)


async def test_keys_theme_and_columns_are_as_they_were_set(old: Workspace, open_app: OpenApp) -> None:
    async with open_app(Cockpit(old, lambda _: None), size=(120, 36)) as pilot:
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table of rounds")
        table = pilot.app.screen.query_one(RoundTable)
        await until(pilot, lambda: len(table.arrangement.shown) == 9, "the rounds")
        assert pilot.app.theme == "loratui-light"
        assert table.column_layout.order[:4] == ("number", "name", "lora.r", "perplexity")
        assert {"lora.r", "perplexity"} <= set(table.shown_keys) and "note" not in table.shown_keys
        for key, purpose in (("N", "note"), ("escape", None), ("f", "filter"), ("escape", None), ("i", None)):
            await pilot.press(key)
            editors = [editor.purpose for editor in pilot.app.screen.query(LineEditor)]
            assert editors == ([purpose] if purpose is not None else []), key
        app = pilot.app
        assert isinstance(app, ConfiguredApp) and app.problems == []

"""The page on the five rounds says what the commands in it print of the rounds beside it, which the pictures show."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from engine.files.paths import RunDir, Workspace
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Finished, Sampled, Started, Step
from scripts.sample_workspace import NOW, make_workspace
from tests.support.processes import ROOT
from tui.cli import main

PAGE, ROUNDS = ROOT / "docs" / "five-rounds.md", ROOT / "docs" / "five-rounds"
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
COMMANDS = [
    (command, printed)
    for block in BLOCKS
    for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize(("command", "printed"), COMMANDS, ids=lambda text: text[:60])
def test_command_prints_what_the_page_shows(
    command: str, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that the page leaves out stand as `...`."""
    shutil.copytree(ROUNDS, tmp_path / "docs" / "five-rounds")
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command)
    assert program == "loratui"
    assert main.main(arguments) == 0
    actual = lines_of(capsys.readouterr().out)
    parts = [lines_of(part) for part in printed.split("...\n") if part]
    assert parts
    start = 0
    for part in parts:
        places = [place for place in range(start, len(actual) + 1) if actual[place : place + len(part)] == part]
        assert places, f"{part} is not in {actual[start:]}"
        start = places[0] + len(part)


def test_page_has_commands() -> None:
    assert len(COMMANDS) >= 5


def test_rounds_hold_no_texts_and_no_places_of_a_machine() -> None:
    files = [file for file in ROUNDS.rglob("*") if file.is_file()]
    assert len(files) > 20
    for file in files:
        text = file.read_text()
        assert '"prompt"' not in text and "### Instruction" not in text
        assert not re.search(r'"/\w', text), file


def events_of(run: RunDir) -> list[AnyEvent]:
    """Return the events without the process that trained, and without the answers, of which the page has none."""
    return [event for event in read_events(run.events) if not isinstance(event, Started | Sampled)]


def test_sample_workspace_changes_no_event_of_the_rounds(tmp_path: Path) -> None:
    sample, published = make_workspace(tmp_path / "rounds"), Workspace(ROUNDS)
    last_events = []
    for directory in sorted(published.runs_dir.iterdir()):
        run, original = sample.run_dir(directory.name), published.run_dir(directory.name)
        events = events_of(run)
        assert events == [event for event in events_of(original) if event.time <= NOW]
        last_events.append(type(events[-1]))
        for scores in run.scores.iterdir():
            assert json.loads(scores.read_text()) == json.loads((original.scores / scores.name).read_text())
    assert last_events == [Finished] * 4 + [Step]

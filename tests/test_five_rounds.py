"""The page on the five rounds says what the commands in it print of the rounds beside it."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

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

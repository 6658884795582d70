"""What the settings of a person are read from, and what is told of those that cannot be taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.alerts.notify import Notify
from tui.settings.config import Config, read_config, remember_theme, remembered_theme


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_no_file_means_the_defaults(path: Path) -> None:
    assert read_config(path) == Config()


def test_every_setting_is_taken(path: Path) -> None:
    path.write_text(
        'theme = "loratui-light"\n'
        '[keys]\nrounds.new = "N"\n"edit.start" = ["ctrl+s", "ctrl+j"]\ntable.last = "G,end"\n'
        '[notify]\nbell = false\nosc9 = false\ncommand = "say done"\n'
    )
    keys = {"rounds.new": "N", "edit.start": "ctrl+s,ctrl+j", "table.last": "G,end"}
    assert read_config(path) == Config("loratui-light", keys, Notify(False, False, "say done"))


@pytest.mark.parametrize(
    ("text", "told", "rest"),
    [
        ('theme = 3\n[keys]\nrounds.new = "N"', "theme: Expected `str`", {"rounds.new": "N"}),
        ('[notify]\nbell = "loud"\n[keys]\nrounds.new = "N"', "notify: Expected `bool`", {"rounds.new": "N"}),
        ("[notify]\nbeep = true", "unknown field `beep`", {}),
        ('colour = "red"', "sets 'colour', which is not a setting", {}),
        ('[keys]\nrounds.new = 3\nrounds.export = "E"', "keys.rounds.new: give a key", {"rounds.export": "E"}),
        ('[keys]\nrounds.new = ""', "keys.rounds.new: it names no key", {}),
        ('keys = "n"', "keys: Expected `object`", {}),
        ("[keys\n", "the defaults apply: Expected ']'", {}),
    ],
)
def test_mistake_is_told_and_costs_nothing_else(path: Path, text: str, told: str, rest: dict[str, str]) -> None:
    path.write_text(text)
    read = read_config(path)
    assert len(read.problems) == 1 and told in read.problems[0] and str(path) in read.problems[0]
    assert read.keys == rest
    assert (read.theme, read.notify) == ("", Notify())


@pytest.mark.parametrize("what", ["directory", "pipe", "bytes", "unreadable"])
def test_what_is_no_file_is_told_and_not_waited_for(path: Path, what: str) -> None:
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "bytes":
        path.write_bytes(b"theme = '\xff'")
    else:
        path.symlink_to(path)
    read = read_config(path)
    assert read == Config(problems=read.problems)
    assert len(read.problems) == 1 and str(path) in read.problems[0]


def test_chosen_theme_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert remembered_theme() == ""
    remember_theme("loratui-light")
    assert remembered_theme() == "loratui-light"


def test_theme_that_cannot_be_kept_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    remember_theme("loratui-light")
    assert remembered_theme() == ""

"""One parser for the app and the commands; what it does not understand is refused."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import UsageError
from scripts.commands import each_command
from tui.cli import commands, parser
from tui.cli.arguments import COMMANDS, Command
from tui.cli.main import main
from tui.cli.parser import Parser, command_parser, parse


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current directory with a directory `d`, and one that has the name of a command."""
    monkeypatch.chdir(tmp_path)
    for name in ("d", "ls"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    ("line", "function", "workspace", "readonly"),
    [
        ("", None, None, False),
        ("d", None, "d", False),
        ("./ls", None, "./ls", False),
        ("--readonly", None, None, True),
        ("--readonly d", None, "d", True),
        ("d --readonly", None, "d", True),
        ("--workspace d", None, "d", False),
        ("--workspace d d", None, "d", False),
        ("ls", "ls", None, False),
        ("ls --workspace d", "ls", "d", False),
        ("--workspace d ls", "ls", "d", False),
        ("--workspace=d --readonly ls --json", "ls", "d", True),
        ("--workspace d ls --workspace d --readonly --readonly", "ls", "d", True),
        ("eval 3 --data F --workspace d", "evaluate", "d", False),
        ("edit 3 --note '--workspace is typed' --workspace d", "edit", "d", False),
        ("edit 3 --note=--readonly", "edit", None, False),
    ],
)
def test_app_and_commands_take_the_same_options_in_either_place(
    line: str, function: str | None, workspace: str | None, readonly: bool
) -> None:
    options = parse(shlex.split(line))
    assert (options.function, options.workspace, options.readonly) == (function, workspace, readonly)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("d ls", ["'d'", "`loratui ls --workspace d`"]),
        ("d --readonly show 3 --json", ["`loratui show 3 --json --workspace d`"]),
        ("d other", ["'other'", "'d'", "loratui -h"]),
        ("d --json", ["'--json'", "loratui -h"]),
        ("other", ["'other' is neither a directory nor a command"]),
        ("other ls", ["'other' is neither a directory nor a command"]),
        ("--workspace d ./ls", ["'d'", "'./ls'"]),
        ("--workspace d ls --workspace ls", ["--workspace", "'d'", "'ls'"]),
        ("--workspace", ["--workspace", "expected one argument"]),
        ("--json ls", ["'--json'", "after the command"]),
        ("--work d ls", ["'--work'"]),
        ("--readonly=yes ls", ["--readonly", "'yes'"]),
        ("-- ls", ["'--'"]),
        ("ls other", ["other", "loratui -h"]),
        ("ls --fil x", ["--fil"]),
        ("ls --sort name --sort=note", ["--sort", "'name'", "'note'", "loratui ls -h"]),
        ("preview --row 1 --row 2", ["--row", "'1'", "'2'"]),
        ("edit 1 --pin --unpin", ["--pin", "--unpin"]),
        ("help other", ["'other'"]),
        ("help ls other", ["'other'"]),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence(line: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        parse(shlex.split(line))
    assert [word for word in words if word not in refused.value.message] == []


def test_option_twice_with_one_value_is_one_option() -> None:
    assert parse(["ls", "--sort", "name", "--sort=name"]).sort == "name"
    assert parse(["new", "--set", "a=1", "--set", "b=2"]).settings == ["a=1", "b=2"]


def test_empty_workspace_is_not_the_current_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--workspace", ""], lambda _: None) == 2
    assert "--workspace is ''" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_the_same_in_each_way_of_asking(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = set()
    for words in (["help", name], [name, "-h"], ["--readonly", name, "--help"]):
        assert main(words, lambda _: None) == 0
        texts.add(capsys.readouterr().out)
    assert len(texts) == 1
    assert COMMANDS[name].sentence in " ".join(texts.pop().split())


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-h"], ["--help"], ["help"], ["--workspace", "d", "-h"]):
        assert main(words, lambda _: None) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert [name for name, command in COMMANDS.items() if f"{name} {command.sentence}" not in shown] == []


def parsers(parent: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parent
    for action in parent._actions:
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from parsers(below)


def test_every_command_has_its_function() -> None:
    functions = [below.get_default("function") for below in parsers(command_parser())]
    assert len(functions) == len([*each_command()]) + 1
    absent = [name for name in functions if name and not hasattr(commands, name)]
    assert absent == ["help"]  # which is another spelling of -h


def test_commands_below_a_command_are_parsed_and_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def number(below: Parser | argparse.ArgumentParser) -> None:
        below.add_argument("number", type=int)

    attic = Command("list it", subcommands={"restore": Command("restore one", number), "empty": Command("empty it")})
    monkeypatch.setattr(parser, "COMMANDS", {"attic": attic})
    assert parse(["attic"]).function == "attic"
    assert parse(["--readonly", "attic", "empty", "--workspace", "d"]).function == "attic_empty"
    options = parse(["attic", "restore", "3"])
    assert (options.function, options.number) == ("attic_restore", 3)
    for wrong in (["attic", "other"], ["attic", "empty", "3"], ["attic", "restore"]):
        with pytest.raises(UsageError):
            parse(wrong)
    with pytest.raises(SystemExit):
        parse(["help", "attic", "restore"])
    assert "restore one" in capsys.readouterr().out

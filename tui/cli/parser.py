"""Parse the command line, of the app and of its commands alike."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from engine.errors import UsageError
from tui.cli.arguments import COMMANDS, Command
from tui.terminal.console import say

ALONE = ("-h", "--help", "--version")
HELP_CELLS = 100


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, and takes no option by the beginning of its name."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_help_formatter, **settings)
        for action in (None, "store"):
            self.register("action", action, StoreOnce)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}: see {self.prog} -h")

    def print_help(self, file: object = None) -> None:
        say(self.format_help(), end="")


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=28, width=HELP_CELLS)


class StoreOnce(argparse.Action):
    """Store a value; refuse a second one that differs, where argparse would forget the first."""

    value: object = None

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Set the attribute; raises UsageError for an option that has another value already."""
        if option_string is not None:
            if self.value not in (None, values):
                parser.error(f"{option_string} is both {str(self.value)!r} and {str(values)!r}")
            self.value = values
        setattr(namespace, self.dest, values)


class ShowVersion(argparse.Action):
    """Print the version; argparse's own action would need it even if nobody asks for it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # 10 ms, and nothing else at the start needs it

        say(f"loratui {version('loratui')}")
        parser.exit()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; `function` names what to run in `tui.cli.commands`, and is None for the app.

    `workspace` is the directory as typed; options that every command has may stand before or after the command.

    Raises:
        UsageError: something is not understood, or an option has two values.
    """
    options, rest = _everywhere().parse_known_args(arguments)
    options.workspace = getattr(options, "workspace", None)
    options.readonly = getattr(options, "readonly", False)
    options.function = None
    if rest[:1] == ["help"] and not set(ALONE).intersection(rest):
        rest = [*_command_words(rest[1:]), "-h"]
    if not rest:
        return options
    if rest[0] in COMMANDS:
        return command_parser({rest[0]: COMMANDS[rest[0]]}).parse_args(rest, options)
    if rest[0] in ALONE:
        return command_parser().parse_args(rest, options)
    if rest[0].startswith("-"):
        raise UsageError(
            f"{rest[0]!r} is not an option of the app: write an option of a command after the command; see loratui -h"
        )
    options.workspace = _directory(options.workspace, rest)
    return options


def _command_words(words: Sequence[str]) -> Sequence[str]:
    """Return words that lead to a command; raises UsageError for one that does not."""
    commands: Mapping[str, Command] = COMMANDS
    for word in words:
        if word not in commands:
            raise UsageError(f"{word!r} in `loratui help {' '.join(words)}` is not a command: see loratui -h")
        commands = commands[word].subcommands
    return words


def _directory(workspace: str | None, rest: Sequence[str]) -> str:
    """Return the directory that the app opens from the words that are no options of every command."""
    directory, *others = rest
    if not os.path.isdir(os.path.expanduser(directory)):
        raise UsageError(f"{directory!r} is neither a directory nor a command: see loratui -h")
    if others and others[0] in COMMANDS:
        command = shlex.join(["loratui", *others, "--workspace", directory])
        raise UsageError(f"the app opens {directory!r} and runs no command in it: for {others[0]!r} type `{command}`")
    if others:
        raise UsageError(f"{others[0]!r} after the directory {directory!r} is not understood: see loratui -h")
    if workspace not in (None, directory):
        raise UsageError(f"the app opens one directory, not {workspace!r} and {directory!r}: leave one out")
    return directory


def _everywhere() -> Parser:
    """Return a parser of the options that every command and the app have."""
    parser = Parser(prog="loratui", add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument(
        "--workspace", metavar="DIR", help="directory of experiments.json and runs/ (default: this directory)"
    )
    parser.add_argument("--readonly", action="store_true", help="only read: change, start and lock nothing")
    return parser


def command_parser(commands: Mapping[str, Command] = COMMANDS) -> Parser:
    """Return the parser of whole command lines with these commands."""
    parser = Parser(
        prog="loratui", description="The terminal cockpit for fine-tuning with LoRA.", parents=[_everywhere()],
        epilog="Without a command, the terminal app opens WORKSPACE (default: this directory).",
        usage="loratui [--readonly] [WORKSPACE] | loratui COMMAND ...",
    )  # fmt: skip
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    _add_commands(parser, commands)
    return parser


def _add_commands(
    parser: argparse.ArgumentParser, commands: Mapping[str, Command], words: tuple[str, ...] = ()
) -> None:
    # Without its prog, the usage of the parser above would stand before each command.
    group = parser.add_subparsers(prog=" ".join(("loratui", *words)), metavar="COMMAND")
    for name, command in commands.items():
        path = (*words, name)
        below = group.add_parser(name, help=command.sentence, description=command.sentence, parents=[_everywhere()])
        below.set_defaults(function=command.function or "_".join(path))
        command.add_arguments(below)
        if command.subcommands:
            _add_commands(below, command.subcommands, path)

"""`loratui completion SHELL`: a script with which a shell completes what is typed after `loratui`."""

from __future__ import annotations

import argparse

from engine.api import Cockpit
from tui.cli.parser import command_parser
from tui.terminal.console import say


def completion(cockpit: Cockpit, options: argparse.Namespace) -> int:
    import shtab

    parser = command_parser()
    _complete_paths(parser, {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE})
    say(shtab.complete(parser, options.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser, paths: dict[str, dict[str, str]]) -> None:
    """Let what a parser and the parsers below it call DIR or FILE complete as a path."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                _complete_paths(below, paths)
        elif action.metavar in paths:
            action.complete = paths[action.metavar]  # type: ignore[attr-defined]  # where shtab looks for it

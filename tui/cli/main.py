"""`loratui`: start the terminal app, or run a command of the command line."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from engine.api import Cockpit
from engine.errors import LoratuiError, StoreMissing, UsageError
from engine.files.paths import Workspace
from engine.files.permissions import PRIVATE_UMASK, set_umask
from engine.report.chart_client import FORMATS as PICTURES
from engine.report.export import FORMATS
from engine.runner.launcher import start_runner
from tui.terminal.console import say

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

Command = Callable[[Cockpit, argparse.Namespace], int]
Start = Callable[[Workspace], None]


def main(argv: Sequence[str] | None = None, start: Start = start_runner) -> int:
    """Run one command or the app; return the exit code: 0, 1 for a round that failed, 2 for bad input.

    `start` starts the runner of a workspace; tests pass their own.
    """
    os.umask(PRIVATE_UMASK)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["--readonly"] and arguments[1:2] and arguments[1] in COMMANDS:
            arguments = [*arguments[1:], "--readonly"]
        if arguments and arguments[0] in COMMANDS:
            return _run_command(arguments, start)
        if arguments in (["-h"], ["--help"]):
            _parser().print_help()
            return 0
        return _run_app(arguments, start)
    except LoratuiError as error:
        missing = isinstance(error, StoreMissing) and "--readonly" not in arguments
        hint = ": `loratui new` makes one, --workspace DIR uses another" if missing else ""
        say(f"loratui: {error.message}{hint}", error=True)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads the closed pipe any more
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from tui.terminal.crash_log import record_crash

        say(f"loratui: {record_crash(error)}", error=True)
        return EXIT_FAILED


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}: see {self.prog} -h")


class ShowVersion(argparse.Action):
    """Print the version; argparse's own action would need it even if nobody asks for it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # 10 ms, and nothing else at the start needs it

        say(f"loratui {version('loratui')}")
        parser.exit()


def _run_app(arguments: list[str], start: Start) -> int:
    parser = Parser(prog="loratui", add_help=False)
    parser.add_argument("directory", nargs="?", metavar="WORKSPACE")
    parser.add_argument("--workspace", metavar="DIR")
    parser.add_argument("--readonly", action="store_true")
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    options = parser.parse_args(arguments)
    workspace = Workspace(Path(options.workspace or options.directory or "."))
    if not workspace.root.is_dir():
        raise UsageError(
            f"{options.workspace or options.directory!r} is neither a directory nor a command: see loratui -h"
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the terminal app needs a terminal: use a command such as `loratui ls` in a script or a pipe")
    set_umask(workspace)
    for another in ("COLUMNS", "LINES"):  # Textual would use them instead of the terminal's size
        os.environ.pop(another, None)
    if "STY" in os.environ:  # GNU screen shows at most 256 colours, whatever the outer terminal can do
        os.environ.pop("COLORTERM", None)
    gc.disable()  # the app enables it after its first table; objects made before live to the end
    from tui.app import LoratuiApp  # a command does not wait for Textual

    cockpit = Cockpit(workspace, start, readonly=options.readonly)
    app = LoratuiApp(cockpit, Path.cwd())
    parting = app.run()
    if parting:
        say(f"loratui: {parting}", error=True)
    if not options.readonly:
        with suppress(StoreMissing):
            cockpit.purge()
    return app.return_code or 0


def _run_command(arguments: list[str], start: Start) -> int:
    from tui.cli import commands

    options = _parser().parse_args(arguments)
    workspace = Workspace(Path(options.workspace))
    if not workspace.root.is_dir():
        raise UsageError(f"--workspace is {options.workspace!r}, which is not a directory")
    set_umask(workspace)
    command: Command = getattr(commands, {"eval": "evaluate"}.get(options.command, options.command))
    cockpit = Cockpit(workspace, start, readonly=options.readonly)
    try:
        return command(cockpit, options)
    finally:
        _say_notices(cockpit)


def _say_notices(cockpit: Cockpit) -> None:
    """Print the notices of the store: repairs, which a person sees only once, and what is wrong with it."""
    with suppress(LoratuiError):
        notices = cockpit.store.notices()
        for notice in notices:
            say(f"loratui: {notice}", error=True)
        if notices and sys.stderr.isatty():
            cockpit.store.dismiss()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="loratui", description="The terminal cockpit for fine-tuning with LoRA.",
        epilog="Without a command, the terminal app opens WORKSPACE (default: this directory).",
        usage="loratui [--readonly] [WORKSPACE] | loratui COMMAND ...",
    )  # fmt: skip
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    commands = parser.add_subparsers(prog="loratui", dest="command", metavar="COMMAND", required=True)
    for name, (text, add_arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--workspace",
            default=".",
            metavar="DIR",
            help="directory of experiments.json and runs/ (default: this directory)",
        )
        command.add_argument("--readonly", action="store_true", help="only read: change, start and lock nothing")
        add_arguments(command)
    return parser


def _number(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", type=int, metavar="N", help="number of the round")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort", default="number", metavar="KEY", help="sort by a column; --sort=-KEY puts the largest first"
    )
    parser.add_argument(
        "--filter",
        default="",
        metavar="EXPR",
        help="show only rounds that match, for example 'ppl<3.3 lr>=1e-4 status:failed'",
    )
    parser.add_argument(
        "--group", metavar="KEY", help="group rounds with the same value in a column; show count and best of each"
    )
    _json(parser)


def _show(parser: argparse.ArgumentParser) -> None:
    _number(parser)
    _json(parser)


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=int, metavar="A", help="number of the first round")
    parser.add_argument("second", type=int, metavar="B", help="number of the second round")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("numbers", nargs="*", type=int, metavar="N", help="rounds to include (default: all)")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the Markdown file; pictures go beside it"
    )
    parser.add_argument("--picture", choices=PICTURES, default="svg", help="format of the pictures (default: svg)")
    parser.add_argument("--force", action="store_true", help="replace existing files")


def _eval(parser: argparse.ArgumentParser) -> None:
    _number(parser)
    parser.add_argument(
        "--data", required=True, metavar="F", help="a file of rows, or the name of a dataset on the hub"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="use the first N rows (default: all)")
    _json(parser)


def _lineage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "number",
        nargs="?",
        type=int,
        metavar="N",
        help="number of a round: show its family only (default: all families)",
    )
    _json(parser)


def _spec(parser: argparse.ArgumentParser) -> None:
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--preset", metavar="P", help="start from a preset")
    origin.add_argument("--from", type=int, dest="parent", metavar="N", help="start from the settings of round N")
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="KEY=VALUE", help="set one hyperparameter"
    )


def _move(parser: argparse.ArgumentParser) -> None:
    _number(parser)
    parser.add_argument("place", type=int, metavar="PLACE", help="the new place in the queue; 1 runs next")


def _preview(parser: argparse.ArgumentParser) -> None:
    _spec(parser)
    parser.add_argument("--row", type=int, default=1, metavar="N", help="number of the row in the data (default: 1)")
    _json(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    _spec(parser)
    parser.add_argument("--name", metavar="S", help="name of the round")
    parser.add_argument("--note", default="", metavar="S", help="note on the round, such as its purpose")
    _json(parser)


def _new(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--hold", action="store_true", help="hold it: it does not start before `loratui release`")


def _edit(parser: argparse.ArgumentParser) -> None:
    _number(parser)
    parser.add_argument("--name", metavar="S", help="new name")
    parser.add_argument("--note", metavar="S", help="new note")
    parser.add_argument(
        "--tag",
        action="append",
        dest="tags",
        metavar="T",
        help="tag that replaces all old tags; give it again for more, '' for none",
    )
    parser.add_argument(
        "--pin", action="store_true", default=None, dest="pinned", help="show it at the top of the table"
    )
    parser.add_argument("--unpin", action="store_false", dest="pinned", help="show it among the others again")
    _json(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("numbers", nargs="*", type=int, metavar="N", help="rounds to export (default: all)")
    parser.add_argument("--format", choices=FORMATS, default="markdown")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE instead of the standard output")
    parser.add_argument(
        "--curves", action="store_true",
        help="compare 2 to 10 rounds side by side in Markdown, with a picture of their curves beside FILE",
    )  # fmt: skip
    parser.add_argument("--picture", choices=PICTURES, default="svg", help="format of the picture (default: svg)")
    parser.add_argument("--force", action="store_true", help="with --curves: replace existing files")


def _share(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--off", action="store_true", help="stop sharing: only you can read it")


def _nothing(parser: argparse.ArgumentParser) -> None:
    pass


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "ls": ("list the rounds", _ls),
    "show": ("show one round: spec, plan, status, result, note, scores on other files, origin, sample answers", _show),
    "diff": ("compare two rounds: their settings, their results, and whether the difference is significant", _diff),
    "eval": ("score a round's adapter on the rows of another file", _eval),
    "lineage": ("show which round was made from which, the changed settings, and how the result changed", _lineage),
    "new": ("queue a round and print it", _new),
    "preview": ("show a row of the data as training will use it; queues nothing", _preview),
    "run": ("queue a round and wait for its end, with a progress bar on a terminal", _run),
    "reproduce": ("train a round again, wait for its end, and say whether the losses are the same", _show),
    "queue": ("list the running and waiting rounds in the order in which they run", _json),
    "move": ("move a waiting round to another place in the queue; 1 runs next", _move),
    "stop": ("stop a round after its current step; saves adapter and checkpoint", _number),
    "resume": ("queue a round that ended early, to continue it", _number),
    "hold": ("hold a queued round, so that it does not start", _number),
    "release": ("queue a held round again", _number),
    "edit": ("change the name, note or tags of a round; pin or unpin it", _edit),
    "rm": ("delete a round and its run directory", _number),
    "export": ("print a comparison of rounds, or write it to a file", _export),
    "share": ("let the members of the directory's group read this workspace with --readonly", _share),
    "report": ("write a report on rounds: setup, curves, changes, results, sample answers", _report),
    "ranking": ("rank the rounds by how often people preferred their answers", _json),
    "rebuild": ("make experiments.json again from runs/", _nothing),
    "keys": ("print all actions and their keys in the format of the config file", _nothing),
    "doctor": ("show what this machine offers for training", _json),
}

if __name__ == "__main__":
    sys.exit(main())

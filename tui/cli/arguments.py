"""The commands: what each does, its arguments, and the commands below it. Parser, help, completion and docs follow."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from tui.cli.sweep.arguments import limits, sampling, sweep_number

SHELLS = ("bash", "zsh", "fish")


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """Leave the parser as it is."""


class Command(NamedTuple):
    """A command; it runs the function in `tui.cli.commands` that its words name, joined by `_`."""

    sentence: str
    add_arguments: Callable[[argparse.ArgumentParser], None] = no_arguments
    subcommands: Mapping[str, Command] = MappingProxyType({})  # of which none may be typed
    function: str = ""  # where the words do not name it


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
    from engine.report.chart_client import FORMATS as PICTURES

    parser.add_argument("numbers", nargs="*", type=int, metavar="N", help="rounds to include (default: all)")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the Markdown file; pictures go beside it"
    )
    parser.add_argument("--picture", choices=PICTURES, default="svg", help="format of the pictures (default: svg)")
    parser.add_argument("--force", action="store_true", help="replace existing files")


def _eval(parser: argparse.ArgumentParser) -> None:
    _number(parser)
    parser.add_argument(
        "--data", required=True, metavar="FILE", help="a file of rows, or the name of a dataset on the hub"
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
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="set one hyperparameter; repeat it for more",
    )


def _move(parser: argparse.ArgumentParser) -> None:
    _number(parser)
    parser.add_argument("place", type=int, metavar="PLACE", help="the new place in the queue; 1 runs next")


def _preview(parser: argparse.ArgumentParser) -> None:
    _spec(parser)
    parser.add_argument("--row", type=int, default=1, metavar="N", help="number of the row in the data (default: 1)")
    _json(parser)


def _plan(parser: argparse.ArgumentParser) -> None:
    _spec(parser)
    parser.add_argument(
        "--gpu", metavar="CARD", help="plan for a card by its name, such as 'T4' or 'X 24GB', or by its number here"
    )
    parser.add_argument(
        "--history", action="store_true", help="show what was predicted of the rounds that finished here, and what came"
    )
    parser.add_argument(
        "--trace",
        action="store_true",
        help="count the memory of the rows by a trace of the engine's own passes (takes seconds)",
    )
    parser.add_argument("--silence", metavar="RULE", help="never show the remarks of this rule again")
    parser.add_argument("--unsilence", metavar="RULE", help="show the remarks of this rule again")
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
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--pin", action="store_true", default=None, dest="pinned", help="show it at the top of the table"
    )
    place.add_argument("--unpin", action="store_false", dest="pinned", help="show it among the others again")
    _json(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("numbers", nargs="*", type=int, metavar="N", help="rounds to export (default: all)")
    _export_options(parser)


def _export_options(parser: argparse.ArgumentParser) -> None:
    from engine.report.chart_client import FORMATS as PICTURES
    from engine.report.export import FORMATS

    parser.add_argument("--format", choices=FORMATS, default="markdown", help="what to write (default: markdown)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE instead of the standard output")
    parser.add_argument(
        "--curves", action="store_true",
        help="compare 2 to 10 rounds side by side in Markdown, with a picture of their curves beside FILE",
    )  # fmt: skip
    parser.add_argument("--picture", choices=PICTURES, default="svg", help="format of the picture (default: svg)")
    parser.add_argument("--force", action="store_true", help="with --curves: replace existing files")


def _share(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--off", action="store_true", help="stop sharing: only you can read it")


def _sweep_new(parser: argparse.ArgumentParser) -> None:
    _spec(parser)
    limits(parser)
    sampling(parser)
    parser.add_argument("--name", default="", metavar="S", help="name of the sweep")
    parser.add_argument("--note", default="", metavar="S", help="note on the sweep, such as its question")
    _json(parser)


def _sweep_show(parser: argparse.ArgumentParser) -> None:
    sweep_number(parser)
    _json(parser)


def _sweep_resume(parser: argparse.ArgumentParser) -> None:
    sweep_number(parser)
    limits(parser)


def _sweep_export(parser: argparse.ArgumentParser) -> None:
    sweep_number(parser)
    _export_options(parser)


def _help(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="the command to explain (default: all in short)")


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that will complete")


COMMANDS: dict[str, Command] = {
    "ls": Command("list the rounds", _ls),
    "show": Command(
        "show one round: spec, plan, status, result, note, scores on other files, origin, sample answers", _show
    ),
    "diff": Command(
        "compare two rounds: their settings, their results, and whether the difference is significant", _diff
    ),
    "eval": Command("score a round's adapter on the rows of another file", _eval, function="evaluate"),
    "lineage": Command(
        "show which round was made from which, how the result changed, and which rounds are missing to tell why",
        _lineage,
    ),
    "new": Command("queue a round and print it", _new),
    "plan": Command("say what a round would be, whether it fits, and what is remarkable; queues nothing", _plan),
    "preview": Command("show a row of the data as training will use it; queues nothing", _preview),
    "run": Command("queue a round and wait for its end, with a progress bar on a terminal", _run),
    "reproduce": Command("train a round again, wait for its end, and say whether the losses are the same", _show),
    "queue": Command("list the running and waiting rounds in the order in which they run", _json),
    "move": Command("move a waiting round to another place in the queue; 1 runs next", _move),
    "stop": Command("stop a round after its current step; saves adapter and checkpoint", _number),
    "resume": Command("queue a round that ended early, to continue it", _number),
    "hold": Command("hold a queued round, so that it does not start", _number),
    "release": Command("queue a held round again", _number),
    "edit": Command("change the name, note or tags of a round; pin or unpin it", _edit),
    "rm": Command("move a round with its run directory to the trash, which keeps it for a week", _number),
    "sweep": Command(
        "list the sweeps: questions put to many rounds, such as which rank is best",
        _json,
        {
            "new": Command("begin a sweep: --set takes several values, 8,16,32 or 1e-5..1e-3 log", _sweep_new),
            "ls": Command("list the sweeps", _json),
            "show": Command("show the settings of a sweep, and what they say", _sweep_show),
            "stop": Command("begin no further round of a sweep", sweep_number),
            "resume": Command("go on with a sweep, with more trials or another budget if named", _sweep_resume),
            "rm": Command("remove a sweep, and move its rounds to the trash", sweep_number),
            "export": Command("print the rounds of a sweep, or write them to a file", _sweep_export),
        },
        "sweep_ls",
    ),
    "trash": Command(
        "list the deleted rounds, how much of the disk they occupy, and until when they are kept",
        _json,
        {
            "restore": Command("bring a deleted round back as it was", _number),
            "empty": Command("delete the rounds in the trash for good, now"),
        },
    ),
    "export": Command("print a comparison of rounds, or write it to a file", _export),
    "share": Command("let the members of the directory's group read this workspace with --readonly", _share),
    "report": Command("write a report on rounds: setup, curves, changes, results, sample answers", _report),
    "ranking": Command("rank the rounds by how often people preferred their answers", _json),
    "rebuild": Command("make experiments.json again from runs/"),
    "keys": Command("print all actions and their keys in the format of the config file"),
    "doctor": Command("show what this machine offers for training", _json),
    "completion": Command("print a script with which a shell completes commands and options", _completion),
    "help": Command("explain a command", _help),
}

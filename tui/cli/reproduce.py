"""`loratui reproduce N`: train a round's spec again, and say whether the losses are the same."""

from __future__ import annotations

import argparse

from msgspec import to_builtins
from rich.table import Table
from rich.text import Text

from engine.api import Cockpit
from engine.compare.reproduction import Reproduction, reproduction
from engine.errors import RoundError
from engine.report.export import json_text
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Evaluated, Provenance, Step
from engine.spec.round import Round, Status
from tui.cli.plan import predicted_here
from tui.cli.wait import wait_for_end
from tui.terminal.console import PlainConsole, clean_line, say, say_json


def reproduce(cockpit: Cockpit, options: argparse.Namespace) -> int:
    round_, reproduction = _reproduce(cockpit, options.number)
    if options.json:
        say_json(json_text({"round": round_.number, "reproduces": options.number} | to_builtins(reproduction)))
    else:
        _print(options.number, round_, reproduction)
    return 0 if reproduction.verdict in ("identical", "within tolerance") else 1


def _reproduce(cockpit: Cockpit, number: int) -> tuple[Round, Reproduction]:
    """Queue the spec of a round as a new one, wait for its end, and compare.

    Raises:
        RoundError: the round has no steps to compare with, or the new one did not finish.
    """
    original = cockpit.store.get(number)
    first = _events_of(cockpit, original)
    if not any(isinstance(event, Step) for event in first):
        raise RoundError(f"round {number} has no steps here to compare with: choose one that was trained here")
    note, predicted = f"reproduces round {number}", predicted_here(cockpit, original.spec)
    queued = cockpit.queue(original.spec, name=original.name, note=note, parent=number, predicted=predicted)
    ended = wait_for_end(cockpit, queued)
    if ended.status is not Status.FINISHED:
        raise RoundError(f"round {ended.number} is {ended.status}, so it cannot be compared with round {number}")
    return ended, reproduction(first, _events_of(cockpit, ended))


def _events_of(cockpit: Cockpit, round_: Round) -> list[AnyEvent]:
    return read_events(cockpit.workspace.run_dir(round_.id).events, Provenance, Step, Evaluated)


def _print(number: int, round_: Round, reproduction: Reproduction) -> None:
    """Print the verdict, and a table of where the origins of the two rounds differ."""
    compared = f"{reproduction.steps:,} steps and {reproduction.evaluations} evaluations"
    if reproduction.verdict == "identical":
        say(f"round {round_.number} reproduces round {number}: all losses of {compared} are identical")
    else:
        since = f", the first at step {reproduction.first_step:,}" if reproduction.first_step is not None else ""
        say(
            f"round {round_.number} against round {number}: {reproduction.verdict}; over {compared} the losses differ "
            f"by up to {reproduction.step_difference:.1e}{since}, "
            f"the eval losses by up to {reproduction.eval_difference:.1e}"
        )
    if not reproduction.origins:
        say("no difference in their origins is known")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("different", f"round {number}", f"round {round_.number}"):
        table.add_column(title)
    for row in reproduction.origins:
        table.add_row(*(Text(clean_line(cell)) for cell in row))
    PlainConsole().print(table)

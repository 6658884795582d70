"""`loratui report -o FILE`: the write-up of rounds, with its pictures beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.api import Cockpit
from engine.errors import UsageError
from tui.terminal.console import say


def report(cockpit: Cockpit, options: argparse.Namespace) -> int:
    from engine.report.write_up import pictures_beside, write_report

    rounds = [cockpit.store.get(number) for number in options.numbers] or cockpit.store.rounds()
    path = Path(options.output)
    there = [str(file) for file in (path, *pictures_beside(rounds, path, options.picture)) if file.exists()]
    if there and not options.force:
        raise UsageError(f"{' and '.join(there)} would be replaced: --force does so")
    pictures = write_report(cockpit.workspace, rounds, path, options.picture)
    say(f"wrote {path}" + (f" and {' and '.join(map(str, pictures))}" if pictures else "; no round has a curve"))
    return 0

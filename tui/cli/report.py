"""`loratui report -o FILE`: write a report on rounds, with its pictures beside it."""

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
    existing = [str(file) for file in (path, *pictures_beside(rounds, path, options.picture)) if file.exists()]
    if existing and not options.force:
        raise UsageError(f"{' and '.join(existing)} would be replaced: give --force to do so")
    pictures = write_report(cockpit.workspace, rounds, path, options.picture)
    say(f"wrote {path}" + (f" and {' and '.join(map(str, pictures))}" if pictures else "; no round has a curve"))
    return 0

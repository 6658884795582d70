"""Deleted rounds on the command line: move them to the trash, list them, bring them back, delete them for good."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import suppress

from rich.table import Table
from rich.text import Text

from engine.api import Cockpit
from engine.errors import LoratuiError
from engine.report.export import json_text
from engine.store.trash import Removed, run_bytes
from engine.system.doctor import Finding
from engine.text.humanize import format_bytes
from tui.terminal.console import PlainConsole, clean_line, say
from tui.views.trash import trash_size


def rm(cockpit: Cockpit, options: argparse.Namespace) -> int:
    number = cockpit.remove(options.number).number
    say(f"round {number} is in the trash for a week: `loratui trash restore {number}` brings it back")
    cockpit.purge_trash()
    if size := trash_size(cockpit):
        say(size)
    return 0


def trash(cockpit: Cockpit, options: argparse.Namespace) -> int:
    removed = cockpit.trash()
    if options.json:
        say(json_text([_fields(cockpit, each) for each in removed]))
        return 0
    if not removed:
        say("the trash is empty")
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("#", "name", "size", "deleted", "kept until"):
        table.add_column(title, justify="right" if title in ("#", "size") else "left")
    for each in removed:
        size = format_bytes(run_bytes(cockpit.workspace, each)) or ""
        cells = (str(each.number), each.name, size, _moment(each.removed), _moment(each.expires))
        table.add_row(*(Text(clean_line(cell)) for cell in cells))
    PlainConsole().print(table)
    return 0


def trash_restore(cockpit: Cockpit, options: argparse.Namespace) -> int:
    round_ = cockpit.restore(options.number)
    say(f"round {round_.number} is back, and is {round_.status}")
    return 0


def trash_empty(cockpit: Cockpit, options: argparse.Namespace) -> int:
    total = cockpit.trash_bytes()
    count = len(cockpit.empty_trash())
    freed = f"; {format_bytes(total)} of the disk are free again" if total else ""
    say(f"{count} round{'s are' if count != 1 else ' is'} deleted for good{freed}" if count else "the trash is empty")
    return 0


def trash_finding(cockpit: Cockpit) -> Iterator[Finding]:
    """Yield what `loratui doctor` says about the trash; nothing where there is no store."""
    with suppress(LoratuiError):
        removed = cockpit.trash()
        if not removed:
            yield Finding("trash", "empty")
            return
        total = format_bytes(cockpit.trash_bytes())
        next_expiry = _moment(min(each.expires for each in removed))
        rounds = f"{len(removed)} round{'s' * (len(removed) != 1)}"
        yield Finding("trash", f"{rounds}, {total or '0 B'}, the first kept until {next_expiry}: `loratui trash empty`")


def _fields(cockpit: Cockpit, removed: Removed) -> dict[str, object]:
    return {
        "number": removed.number, "name": removed.name, "id": removed.id, "removed": removed.removed,
        "expires": removed.expires, "bytes": run_bytes(cockpit.workspace, removed),
    }  # fmt: skip


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))

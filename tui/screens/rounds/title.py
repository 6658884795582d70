"""What stands above the table: how many rounds there are, which of them are shown, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from textual.content import Content

from engine.spec.round import Round, Status
from tui.screens.rounds.arrangement import View
from tui.screens.rounds.columns import round_columns
from tui.terminal.console import clean_line


def rounds_title(rounds: Iterable[Round], view: View, shown: int, marked: int, root: Path) -> Content:
    """One line: what is asked of the table stands before the path, which is cut first where room lacks."""
    counts = Counter(round_.status for round_ in rounds)
    total = counts.total()
    parts = [f"{total} round{'s' if total != 1 else ''}"]
    parts += [
        f"{counts[status]} {status}"
        for status in (Status.RUNNING, Status.STOPPING, Status.QUEUED, Status.HELD)
        if counts[status]
    ]
    asked = []
    if view.filter:
        asked.append(f"{shown} shown: {clean_line(view.filter)}")
    if marked:
        asked.append(f"{marked} marked")
    if view.sort:
        asked.append(f"by {_title_of(view.sort)} {'↓' if view.sort.startswith('-') else '↑'}")
    if view.group:
        asked.append(f"grouped by {_title_of(view.group)}")
    if view.differing:
        asked.append("what differs")
    told = Content.assemble(("loratui", "bold"), "   ", " · ".join(parts))
    if asked:
        told = Content.assemble(told, " · ", (" · ".join(asked), "bold $text-accent"))
    return Content.assemble(told, "   ", (clean_line(str(root)), "dim"))


def _title_of(key: str) -> str:
    return round_columns()[key.removeprefix("-")].column.title

"""The line above the table: how many rounds there are, which of them are shown, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from textual.content import Content

from engine.spec.round import Round, Status
from tui.screens.rounds.arrangement import View
from tui.screens.rounds.columns import round_columns
from tui.terminal.console import clean_line


def rounds_title(rounds: Iterable[Round] | None, view: View, shown: int, marked: int, root: Path) -> Content:
    """Return the line, the most important first: what does not fit is cut at its end.

    `rounds` is None before they have been read.
    """
    counts = Counter(round_.status for round_ in rounds or ())
    total = counts.total()
    counted = [
        f"{counts[status]} {status}"
        for status in (Status.RUNNING, Status.STOPPING, Status.QUEUED, Status.HELD)
        if counts[status]
    ]
    view_parts = []
    if view.filter:
        view_parts.append(f"{shown} shown: {clean_line(view.filter)}")
    if marked:
        view_parts.append(f"{marked} marked")
    if view.sort:
        view_parts.append(f"by {_title_of(view.sort)} {'↓' if view.sort.startswith('-') else '↑'}")
    if view.group:
        view_parts.append(f"grouped by {_title_of(view.group)}")
    if view.differing:
        view_parts.append("columns that differ")
    parts = [
        Content("…" if rounds is None else f"{total} round{'s' if total != 1 else ''}"),
        *(Content.styled(part, "bold $text-accent") for part in view_parts),
        *map(Content, counted),
    ]
    title = Content.assemble(("loratui", "bold"), "   ", Content(" · ").join(parts))
    return Content.assemble(title, "   ", (clean_line(str(root)), "dim"))


def _title_of(key: str) -> str:
    return round_columns()[key.removeprefix("-")].column.title

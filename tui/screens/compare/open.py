"""Open the comparison of rounds of the table."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compare.diff import check_count
from engine.errors import RoundError
from engine.spec.round import Round
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean


def open_comparison(screen: WorkspaceScreen, rounds: Sequence[Round]) -> None:
    """Show `rounds` side by side above `screen`, or say there why they cannot be compared."""
    from tui.screens.compare.screen import CompareScreen

    if not rounds:
        screen.notify("press space to mark the rounds that you want to compare", markup=False)
        return
    try:
        check_count(rounds)
    except RoundError as error:
        screen.notify(clean(error.message), severity="warning", markup=False)
        return
    screen.open_above(CompareScreen(screen.cockpit, rounds))

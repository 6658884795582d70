"""Open the sweep of a round of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.alerts.run_monitor import RunProgress
from engine.spec.round import Round
from tui.screens.workspace_screen import WorkspaceScreen


def open_sweep(
    screen: WorkspaceScreen,
    round_: Round | None,
    progress: Mapping[int, RunProgress],
    open_queue: Callable[[], None],
) -> None:
    """Show above `screen` the sweep of a round, or the newest one for a round that is not a trial.

    Args:
        progress: that of the running rounds, by number.
        open_queue: opens the queue above the sweep.
    """
    from tui.screens.sweep.screen import SweepScreen

    trial = round_.trial if round_ is not None else None
    screen.open_above(SweepScreen(screen.cockpit, trial.sweep if trial is not None else None, progress, open_queue))

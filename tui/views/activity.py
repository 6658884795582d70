"""The activity of a round in words."""

from __future__ import annotations

from engine.alerts.run_monitor import RunProgress
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Round, Status


def activity(round_: Round, run: RunSnapshot) -> str:
    """Say in a few words what the round is doing right now."""
    if round_.status not in (Status.RUNNING, Status.STOPPING):
        return str(round_.status)
    if round_.status is Status.STOPPING:
        return "stopping after this step"
    if run.started is None:
        return "starting"
    if run.phase is None or run.phase.name == "training":
        return "training"
    share = f" {100 * run.phase.done // run.phase.total} %" if run.phase.total else ""
    return run.phase.name + share


def progress_words(run: RunProgress) -> str:
    """Return the share of its steps that a run has done, or their number if the total is unknown; "" before both."""
    if run.step is None:
        return ""
    return f"{100 * run.step // run.total_steps} %" if run.total_steps else f"step {run.step}"

"""Say in words how far a sweep is, for its screen and for `loratui sweep`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate

from engine.spec.round import ACTIVE, WAITING, Round
from engine.sweeps.progress import Progress, Setting
from engine.sweeps.sweep_queue import point_text
from engine.text.humanize import format_duration, name_rounds


def settings_in_words(progress: Progress) -> str:
    """Write how many settings are done, of how many: `9 of 24 within 2h00m`; one that failed for good counts too."""
    done = sum(each.state != "open" for each in progress.settings)
    most, budget = progress.sweep.trials, progress.sweep.budget_seconds
    within = f" within {format_duration(budget)}" if budget is not None else ""
    return f"{done} of {most}{within}" if most is not None else f"{done}{within}"


def best_first(progress: Progress) -> list[Setting]:
    """Return the settings by their loss, the lowest first; those without one come last, by number."""
    return sorted(progress.settings, key=lambda each: (each.loss is None, each.loss or 0.0, each.number))


def state_in_words(setting: Setting) -> str:
    """Return the state, of an open setting the status of its last round."""
    return setting.state if setting.state != "open" else str(setting.rounds[-1].status)


def best_so_far(progress: Progress) -> list[float]:
    """Return the lowest perplexity after each finished setting, in the order in which they ended."""
    finished = [each for each in progress.settings if each.perplexity is not None and math.isfinite(each.perplexity)]
    finished.sort(key=lambda each: max(round_.ended or 0.0 for round_ in each.rounds))
    return [*accumulate((each.perplexity or 0.0 for each in finished), min)]


def now_in_words(progress: Progress, shares: Mapping[int, str]) -> str:
    """Say what a sweep does now, or why it does nothing.

    Args:
        shares: how far each running round is, by number.
    """
    open_rounds = [
        (setting, round_)
        for setting in progress.settings
        for round_ in setting.rounds
        if round_.status in ACTIVE | WAITING
    ]
    active = [_round_in_words(*each, shares) for each in open_rounds if each[1].status in ACTIVE]
    waiting = [round_ for _, round_ in open_rounds if round_.status in WAITING]
    parts = [*active]
    if waiting:
        verb = "waits" if len(waiting) == 1 else "wait"
        parts.append(f"{name_rounds([each.number for each in waiting])} {verb} in the queue")
    if parts:
        return " · ".join(parts)
    if progress.sweep.stopped is not None and progress.status == "stopped":
        return f"stopped: {progress.sweep.message}" if progress.sweep.message else "nothing runs: the sweep is stopped"
    return "nothing runs: all settings are done" if progress.status == "finished" else "the next setting is chosen"


def _round_in_words(setting: Setting, round_: Round, shares: Mapping[int, str]) -> str:
    share = shares.get(round_.number)
    words = f"round {round_.number} trains setting {setting.number} ({point_text(setting.point)})"
    return f"{words}, {share}" if share else words

"""Foretell how long a round that runs or waits still takes, by what it has done and by what alike rounds took."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from engine.alerts.run_monitor import RunProgress
from engine.spec.plan import Plan
from engine.spec.round import Round, Status

if TYPE_CHECKING:  # a screen that shows the times does not wait for the modules that measure the machine
    from engine.planning.durations.duration import Duration

PACE_MARGIN = 0.10  # how far the pace of the steps to come may be from the pace of those before


class Span(Struct, frozen=True):
    """A length of time in seconds, or a moment in seconds since the epoch, with the bounds between which it lies."""

    likely: float
    least: float
    most: float

    def after(self, moment: Span) -> Span:
        """Return the moment that comes so long after another one."""
        return Span(self.likely + moment.likely, self.least + moment.least, self.most + moment.most)


def at(moment: float) -> Span:
    """Return a moment that is known."""
    return Span(moment, moment, moment)


def remaining(round_: Round, duration: Duration | None, progress: RunProgress | None, now: float) -> Span | None:
    """Return how long a round that runs or waits still takes from `now` on; None if that is not known.

    `duration` is that of the whole round, by alike rounds, `progress` that of its run. A round that was stopped and
    waits again goes on where it was, or at an earlier checkpoint, which its longest time allows for.
    """
    if round_.status is Status.STOPPING:
        return at(0.0)
    if round_.status is Status.RUNNING:
        return _of_steps(round_.plan, duration, progress) or _of_duration(duration, now - (round_.started or now))
    done = round_.result.train_seconds or 0.0
    whole, rest = _of_duration(duration, 0.0), _of_duration(duration, done)
    return whole and rest and Span(rest.likely, rest.least, whole.most)


def _of_steps(plan: Plan, duration: Duration | None, progress: RunProgress | None) -> Span | None:
    """Return the time of the steps to come at the pace of those before, and of the evaluations among them."""
    if progress is None or progress.remaining_seconds is None:
        return None
    seconds = progress.remaining_seconds
    if duration is not None and progress.total_steps and progress.step is not None:
        share = 1 - progress.step / progress.total_steps
        beside = duration.seconds - duration.steps - (duration.start or 0.0)
        seconds += beside * min(1.0, max(share, _last_evaluation(plan)))
    return _checked(Span(seconds, seconds * (1 - PACE_MARGIN), seconds * (1 + PACE_MARGIN)))


def _last_evaluation(plan: Plan) -> float:
    """Return the share of the last evaluation in the time beside the steps: it comes after the last of them."""
    return 1 / (1 + len(plan.evaluations)) if plan.evaluations else 0.0


def _of_duration(duration: Duration | None, done: float) -> Span | None:
    """Return the rest of a duration of which so many seconds are done."""
    if duration is None:
        return None
    likely, least, most = (seconds - max(0.0, done) for seconds in (duration.seconds, *duration.interval))
    return _checked(Span(likely, least, most))


def _checked(span: Span) -> Span | None:
    """Return a span without times below 0; None if stored rounds hold figures that cannot be."""
    bounds = (span.likely, span.least, span.most)
    return Span(*(max(0.0, seconds) for seconds in bounds)) if all(map(math.isfinite, bounds)) else None

"""Say in words when the rounds of a queue start and when all are done."""

from __future__ import annotations

from engine.planning.durations.queue_times import QueueTimes
from engine.planning.durations.remaining import Span
from engine.spec.round import ACTIVE, Round, Status
from engine.text.humanize import format_moments

UNKNOWN = "–"


def start_in_words(round_: Round, times: QueueTimes, now: float) -> str:
    """Return when a round starts: `14:05`, `by 14:05`, `after round 7`, or – if that is not known; "" if it runs."""
    if round_.status in ACTIVE:
        return ""
    expected = times.rounds.get(round_.number) if round_.status is Status.QUEUED else None
    if expected is None:
        return UNKNOWN
    if expected.starts is not None:
        (moment,) = format_moments([expected.starts.likely], now)
        return f"by {moment}" if moment and expected.is_latest else moment or UNKNOWN
    numbers = " or ".join(map(str, expected.after))
    return f"after round {numbers}" if len(expected.after) == 1 else f"after {numbers}" if numbers else UNKNOWN


def end_in_words(done: Span | None, now: float, *, with_bounds: bool = True) -> str:
    """Return when all rounds are done: `all done about 16:40 (16:20 to 17:10)`; "" if that is not known.

    Bounds within the same minute say nothing more.
    """
    if done is None:
        return ""
    likely, least, most = format_moments([done.likely, done.least, done.most], now)
    if not (likely and least and most):
        return ""
    return f"all done about {likely}" + (f" ({least} to {most})" if with_bounds and {least, most} != {likely} else "")

"""Foretell when the rounds of a queue start and end, from how long each takes and how many train at once."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from engine.planning.durations.remaining import Span, at


class ExpectedTimes(Struct, frozen=True):
    """The moments, in seconds since the epoch, at which a round starts and ends; None where not known.

    Attributes:
        is_latest: whether these are the latest moments: it starts earlier if a round before it, whose time is not
            known, is over sooner.
        after: numbers of the rounds whose time is not known, and one of which must end before it starts.
    """

    starts: Span | None = None
    ends: Span | None = None
    is_latest: bool = False
    after: tuple[int, ...] = ()


class QueueTimes(Struct, frozen=True):
    """The times of a queue.

    Attributes:
        rounds: by number, of those that run or will start.
        done: the moment when all of these have ended; None if that is not known.
    """

    rounds: Mapping[int, ExpectedTimes] = {}
    done: Span | None = None


def queue_times(
    slots: Sequence[Sequence[int]],
    running: Mapping[int, Span | None],
    waiting: Iterable[tuple[int, Span | None]],
    now: float,
) -> QueueTimes:
    """Return when each round starts and ends, if each takes the first slot that is free, in the order of `waiting`.

    `slots` has for each slot the numbers of the running rounds that must end before it takes another one. `running` and
    `waiting` have the number of each round and the seconds that it still takes, None if that is not known.

    The bounds hold because a round that takes longer never lets one behind it start earlier.
    """
    ends = {number: seconds and seconds.after(at(now)) for number, seconds in running.items()}
    expected = {number: ExpectedTimes(ends=end) for number, end in ends.items()}
    likely, least, most = zip(*(_free(slot, ends, now) for slot in slots), strict=True) if slots else ((), (), ())
    heaps = [sorted(likely), sorted(least), sorted(most)]
    unknown = dict.fromkeys(number for slot in slots for number in slot if ends.get(number, at(now)) is None)
    for number, seconds in waiting:
        if not slots:
            expected[number] = ExpectedTimes()
            continue
        starts = Span(*(heap[0] for heap in heaps))
        is_known = math.isfinite(starts.likely)
        end = seconds.after(starts) if seconds is not None else Span(math.inf, starts.least, math.inf)
        if is_known:
            expected[number] = ExpectedTimes(starts, seconds and end, bool(unknown))
        else:
            expected[number] = ExpectedTimes(after=tuple(unknown))
        if seconds is None and (is_known or len(slots) == 1):
            unknown = {**(unknown if len(slots) > 1 else {}), number: None}
        for heap, moment in zip(heaps, (end.likely, end.least, end.most), strict=True):
            heapq.heapreplace(heap, moment)
    return QueueTimes(expected, _last([each.ends for each in expected.values()]))


def _free(slot: Sequence[int], ends: Mapping[int, Span | None], now: float) -> tuple[float, float, float]:
    """Return the likely moment at which a slot is free, the earliest and the latest; infinity where it is not known."""
    moments = [ends.get(number, at(now)) for number in slot]
    known = [moment for moment in moments if moment is not None]
    earliest = max((moment.least for moment in known), default=now)
    if len(known) < len(moments):
        return math.inf, earliest, math.inf
    return max((each.likely for each in known), default=now), earliest, max((each.most for each in known), default=now)


def _last(ends: Sequence[Span | None]) -> Span | None:
    """Return the moment at which the last of several rounds ends; None if one of their ends is not known."""
    spans = [end for end in ends if end is not None]
    if not spans or len(spans) < len(ends):
        return None
    return Span(*(max(getattr(end, bound) for end in spans) for bound in ("likely", "least", "most")))

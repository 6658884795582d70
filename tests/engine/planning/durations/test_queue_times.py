"""Starts and ends of the rounds of a queue, against arithmetic by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.planning.durations.queue_times import ExpectedTimes, QueueTimes, queue_times
from engine.planning.durations.remaining import Span, at

NOW = 1000.0


def about(seconds: float) -> Span:
    return Span(seconds, 0.9 * seconds, 1.5 * seconds)


def likely(times: QueueTimes) -> dict[int, tuple[float | None, float | None]]:
    """Return for each round the seconds from now to its start and to its end."""
    return {
        number: (seconds_from_now(each.starts), seconds_from_now(each.ends)) for number, each in times.rounds.items()
    }


def seconds_from_now(moment: Span | None) -> float | None:
    return None if moment is None else moment.likely - NOW


def test_one_slot_trains_one_round_after_the_other() -> None:
    times = queue_times([[1]], {1: about(100)}, [(2, about(40)), (3, about(200))], NOW)
    assert likely(times) == {1: (None, 100), 2: (100, 140), 3: (140, 340)}
    assert times.done == Span(NOW + 340, NOW + 0.9 * 340, NOW + 1.5 * 340)
    assert times.rounds[3].starts == Span(NOW + 140, NOW + 0.9 * 140, NOW + 1.5 * 140)


def test_free_slot_takes_a_round_at_once() -> None:
    times = queue_times([[]], {}, [(2, at(40))], NOW)
    assert (times.rounds[2], times.done) == (ExpectedTimes(at(NOW), at(NOW + 40)), at(NOW + 40))


def test_each_of_two_slots_takes_the_next_round_when_it_is_free() -> None:
    """1 and 2 end after 100 and 30 s. So 3 follows 2 until 90, 4 follows 3 until 95, 5 follows 4, and 6 follows 1."""
    waiting = [(3, at(60)), (4, at(5)), (5, at(50)), (6, at(7))]
    times = queue_times([[1], [2]], {1: at(100), 2: at(30)}, waiting, NOW)
    assert likely(times) == {1: (None, 100), 2: (None, 30), 3: (30, 90), 4: (90, 95), 5: (95, 145), 6: (100, 107)}
    assert times.done == at(NOW + 145)


def test_round_that_needs_all_slots_keeps_the_others_waiting() -> None:
    times = queue_times([[1, 2], [1]], {1: at(50), 2: at(80)}, [(3, at(10)), (4, at(10))], NOW)
    assert likely(times) == {1: (None, 50), 2: (None, 80), 3: (50, 60), 4: (60, 70)}


def test_rounds_behind_one_whose_time_is_not_known_start_after_it() -> None:
    times = queue_times([[1]], {1: at(10)}, [(7, None), (8, at(5)), (9, None), (10, at(5))], NOW)
    assert times.rounds[7] == ExpectedTimes(starts=at(NOW + 10))
    assert [times.rounds[number] for number in (8, 9, 10)] == [
        ExpectedTimes(after=(7,)), ExpectedTimes(after=(7,)), ExpectedTimes(after=(9,)),
    ]  # fmt: skip
    assert times.done is None


def test_running_round_whose_time_is_not_known_keeps_its_slot() -> None:
    assert queue_times([[1]], {1: None}, [(2, at(5))], NOW).rounds[2] == ExpectedTimes(after=(1,))


def test_start_is_the_latest_one_if_a_slot_may_be_free_earlier() -> None:
    """1 may end at any moment, and 2 does after 30 s."""
    times = queue_times([[1], [2]], {1: None, 2: at(30)}, [(3, at(5)), (4, None), (5, at(5))], NOW)
    assert times.rounds[3] == ExpectedTimes(Span(NOW + 30, NOW, NOW + 30), Span(NOW + 35, NOW + 5, NOW + 35), True)
    assert times.rounds[4].starts == Span(NOW + 35, NOW + 5, NOW + 35) and times.rounds[4].is_latest
    assert times.rounds[5] == ExpectedTimes(after=(1, 4))


def test_nothing_starts_without_a_slot_and_what_runs_still_ends() -> None:
    times = queue_times([], {1: at(10)}, [(2, at(5))], NOW)
    assert dict(times.rounds) == {1: ExpectedTimes(ends=at(NOW + 10)), 2: ExpectedTimes()}
    assert times.done is None
    assert queue_times([], {1: at(10)}, [], NOW).done == at(NOW + 10)
    assert queue_times([[]], {}, [], NOW) == QueueTimes({}, None)


SECONDS = st.integers(0, 1000)


def simulated(busy: list[int], waiting: list[int]) -> list[int]:
    """Return the start of each waiting round second by second: each second, every idle slot takes the next round."""
    rest, starts, second = list(busy), list[int](), 0
    while len(starts) < len(waiting):
        for slot in range(len(rest)):
            while rest[slot] == 0 and len(starts) < len(waiting):
                rest[slot] = waiting[len(starts)]
                starts.append(second)
        rest = [max(0, seconds - 1) for seconds in rest]
        second += 1
    return starts


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.lists(st.integers(0, 30), max_size=8))
def test_starts_are_those_of_a_clock_that_ticks(busy: list[int], waiting: list[int]) -> None:
    running = {-1 - slot: at(float(seconds)) for slot, seconds in enumerate(busy)}
    times = queue_times([[number] for number in running], running, enumerate(at(float(each)) for each in waiting), 0.0)
    assert [times.rounds[number].starts for number in range(len(waiting))] == [
        at(float(start)) for start in simulated(busy, waiting)
    ]


@given(st.data())
def test_start_lies_between_its_bounds_whatever_rounds_take(data: st.DataObject) -> None:
    bounds = data.draw(st.lists(st.tuples(SECONDS, SECONDS).map(sorted), min_size=2, max_size=9))
    taken = [data.draw(st.integers(least, most)) for least, most in bounds]
    slots = [[0], [1]]

    def times(spans: list[Span]) -> QueueTimes:
        waiting = [(number, span) for number, span in enumerate(spans) if number > 1]
        return queue_times(slots, {0: spans[0], 1: spans[1]}, waiting, NOW)

    actual = times([at(seconds) for seconds in taken])
    expected = times([Span(seconds, *map(float, each)) for seconds, each in zip(taken, bounds, strict=True)])
    for number in range(2, len(bounds)):
        starts, start = expected.rounds[number].starts, actual.rounds[number].starts
        assert starts is not None and start is not None
        assert starts.least <= start.likely <= starts.most
        assert start.likely == pytest.approx(starts.likely)

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from engine.planning.durations.queue_times import ExpectedTimes, QueueTimes
from engine.planning.durations.remaining import Span, at
from engine.spec.round import Status
from tests.support.rounds import make_round
from tui.views.queue import end_in_words, start_in_words

NOON = 1_795_003_200.0  # 18 November 2026, by `date -u -d @1795003200`
HOUR = 3600.0


@pytest.fixture(autouse=True)
def in_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (None, "–"),
        (ExpectedTimes(), "–"),
        (ExpectedTimes(starts=at(NOON + 2 * HOUR)), "14:00"),
        (ExpectedTimes(starts=at(NOON + 13 * HOUR)), "tomorrow 01:00"),
        (ExpectedTimes(starts=at(NOON + HOUR), is_latest=True), "by 13:00"),
        (ExpectedTimes(after=(7,)), "after round 7"),
        (ExpectedTimes(after=(7, 9)), "after 7 or 9"),
        (ExpectedTimes(starts=at(1e300)), "–"),
        (ExpectedTimes(starts=at(1e300), is_latest=True), "–"),
    ],
)
def test_start_in_words(expected: ExpectedTimes | None, text: str) -> None:
    times = QueueTimes({1: expected} if expected is not None else {})
    assert start_in_words(make_round(1, Status.QUEUED), times, NOON) == text


@pytest.mark.parametrize(("status", "text"), [(Status.RUNNING, ""), (Status.STOPPING, ""), (Status.HELD, "–")])
def test_rounds_that_run_or_are_held_have_no_start(status: Status, text: str) -> None:
    times = QueueTimes({1: ExpectedTimes(starts=at(NOON))})
    assert start_in_words(make_round(1, status), times, NOON) == text


def test_end_in_words() -> None:
    done = Span(NOON + 11 * HOUR, NOON + 10 * HOUR, NOON + 13 * HOUR)
    assert end_in_words(done, NOON) == "all done about 23:00 (22:00 to tomorrow 01:00)"
    assert end_in_words(done, NOON, with_bounds=False) == "all done about 23:00"
    assert end_in_words(Span(NOON + 9, NOON, NOON + 50), NOON) == "all done about 12:00"
    assert end_in_words(None, NOON) == end_in_words(Span(NOON, NOON, 1e300), NOON) == ""

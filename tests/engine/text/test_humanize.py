from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from engine.text.humanize import (
    format_bytes,
    format_count,
    format_duration,
    format_energy,
    format_moments,
    format_perplexity,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0s"),
        (0.4, "0s"),
        (45, "45s"),
        (59.4, "59s"),
        (59.6, "1m0s"),
        (421, "7m1s"),
        (3599.6, "1h00m"),
        (7500, "2h05m"),
        (360_000, "100h00m"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 MiB"),
        (87_000, "85 KiB"),
        (1, "1 KiB"),
        (512 * 1024**2, "512 MiB"),
        (1024**3, "1.0 GiB"),
        (15_677_000_000, "14.6 GiB"),
    ],
)
def test_bytes(count: int | None, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0"),
        (950, "950"),
        (999, "999"),
        (1000, "1.0k"),
        (12_345, "12.3k"),
        (999_949, "999.9k"),
        (999_950, "1.00M"),
        (1_100_000_000, "1.10B"),
    ],
)
def test_count(count: int | None, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (1.0, "1.00"), (3.1649, "3.16"), (412.84, "412.8"), (31_969.7, "31,970"), (1e9, "1,000,000,000")],
)
def test_perplexity(value: float | None, text: str) -> None:
    assert format_perplexity(value) == text


@pytest.mark.parametrize(
    ("kwh", "text"),
    [
        (None, ""), (0.0, "0.0 Wh"), (0.0042, "4.2 Wh"), (0.01, "0.01 kWh"), (0.1249, "0.12 kWh"), (9.99, "9.99 kWh"),
        (31.46, "31.5 kWh"), (12_345.0, "12,345.0 kWh"),
    ],
)  # fmt: skip
def test_energy(kwh: float | None, text: str) -> None:
    assert format_energy(kwh) == text


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


HOUR = 3600.0
WEDNESDAY = 1_795_000_000.0  # 18 November 2026, 12:06:40 in Berlin, by `date -d @1795000000`


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0, "12:06"), (11.8, "23:54"), (12, "tomorrow 00:06"), (35.8, "tomorrow 23:54"), (36, "Fri 00:06"),
        (155.8, "Tue 23:54"), (156, "2026-11-25 00:06"), (-24, "2026-11-17 12:06"), (1e12, ""), (float("nan"), ""),
        (float("inf"), ""), (1e300, ""),
    ],
)  # fmt: skip
def test_moment_is_told_by_the_clock_and_the_day(hours: float, text: str) -> None:
    assert format_moments([WEDNESDAY + hours * HOUR], WEDNESDAY) == [text]


@pytest.mark.usefixtures("in_berlin")
def test_day_is_named_where_it_changes() -> None:
    hours = (1, 2, 13, 14, 3, 40)
    assert format_moments([WEDNESDAY + each * HOUR for each in hours], WEDNESDAY) == [
        "13:06", "14:06", "tomorrow 01:06", "02:06", "today 15:06", "Fri 04:06",
    ]  # fmt: skip

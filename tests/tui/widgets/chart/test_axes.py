from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.widgets.chart.axes import (
    FINE,
    Axis,
    LogAxis,
    StepAxis,
    TimeAxis,
    limits_of,
    round_down,
    round_up,
    write_number,
    write_power,
    write_time,
)


def ticks(axis: Axis, low: float, high: float, room: int = 5) -> list[str]:
    return axis.labels(axis.ticks(low, high, room))


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 78, ["0", "20", "40", "60"]),
        (0, 5000, ["0", "1k", "2k", "3k", "4k", "5k"]),
        (0, 12_000, ["0", "5k", "10k"]),
        (0, 1_000_000, ["0", "200k", "400k", "600k", "800k", "1M"]),
        (1_400_000, 1_900_000, ["1.4M", "1.5M", "1.6M", "1.7M", "1.8M", "1.9M"]),
        (3, 6, ["3", "4", "5", "6"]),
        (0, 1, ["0", "1"]),
    ],
)
def test_steps_are_whole_and_short(low: float, high: float, labels: list[str]) -> None:
    assert ticks(StepAxis(write_number), low, high) == labels


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (1.0, 3.5, ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5"]),
        (0.96, 1.04, ["0.96", "0.98", "1.00", "1.02", "1.04"]),
        (0, 10, ["0", "2", "4", "6", "8", "10"]),
        (0, 6_000, ["0", "2k", "4k", "6k"]),
    ],
)
def test_values_have_the_decimals_that_tell_them_apart(low: float, high: float, labels: list[str]) -> None:
    assert ticks(Axis(write_number), low, high) == labels


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 2e-4, ["0", "5e-5", "1e-4", "1.5e-4", "2e-4"]),
        (0, 1.2e-5, ["0", "5e-6", "1e-5"]),
        (1e-4, 1.1e-4, ["1e-4", "1.02e-4", "1.04e-4", "1.06e-4", "1.08e-4", "1.1e-4"]),
    ],
)
def test_learning_rates_are_powers_of_ten(low: float, high: float, labels: list[str]) -> None:
    assert ticks(Axis(write_power), low, high) == labels


@pytest.mark.parametrize(
    ("high", "labels"),
    [
        (2, ["0.0s", "0.5s", "1.0s", "1.5s", "2.0s"]),
        (82, ["0", "30s", "1m"]),
        (700, ["0", "5m", "10m"]),
        (3 * 3600, ["0", "1h", "2h", "3h"]),
        (2 * 3600, ["0", "30m", "1h", "1h30m", "2h"]),
        (86400, ["0", "6h", "12h", "18h", "1d"]),
        (20 * 86400, ["0", "5d", "10d", "15d", "20d"]),
    ],
)
def test_time_goes_by_seconds_minutes_hours_and_days(high: float, labels: list[str]) -> None:
    assert ticks(TimeAxis(write_time), 0, high) == labels


@pytest.mark.parametrize(
    ("low", "high", "room", "labels"),
    [
        (1, 3, 5, ["1.0", "1.5", "2.0", "2.5", "3.0"]),
        (0.1, 1000, 5, ["0.1", "1.0", "10", "100", "1k"]),
        (0.1, 10, 9, ["0.1", "0.2", "0.5", "1.0", "2.0", "5", "10"]),
    ],
)
def test_logarithmic_ticks_are_decades_or_parts_of_them(low: float, high: float, room: int, labels: list[str]) -> None:
    found = ticks(LogAxis(write_number), math.log10(low), math.log10(high), room)
    assert [float(label.replace("k", "e3")) for label in found] == [float(label.replace("k", "e3")) for label in labels]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 20))
def test_ticks_lie_within_the_axis_and_are_as_many_as_fit(low: float, size: float, room: int) -> None:
    places = Axis(write_number).ticks(low, low + size, room)
    assert len(places) <= room + 1
    slack = 1e-5 * size + 1e-6 * abs(low)
    assert all(low - slack <= place <= low + size + slack for place in places)
    shown = [place for place, _ in Axis(write_number).labelled_ticks(low, low + size, room)]
    assert shown == [place for place in places if low <= place <= low + size]


@given(st.floats(1e-8, 1e8), st.floats(0.05, 1.0), st.sampled_from([write_number, write_power]))
def test_labels_fit_beside_the_plot(high: float, share: float, write: Callable[[float, float], str]) -> None:
    """Seven cells, however closely one looks."""
    assert all(len(label) <= 7 for _, label in Axis(write).labelled_ticks(high * (1 - share), high, 8))


@given(st.floats(1e-30, 1e30))
def test_rounding_goes_to_the_next_round_number(size: float) -> None:
    for factors in ((1.0, 2.0, 5.0), FINE):
        up, down = round_up(size, factors), round_down(size, factors)
        assert down <= size * (1 + 1e-8) and up >= size * (1 - 1e-8)
        assert up / down <= 2.5 + 1e-6


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([], (0.0, 1.0)),
        ([1.02, 3.3], (1.0, 3.5)),
        ([1e-4, 1e-4], (1e-4, 1.2e-4)),
        ([0.0, 2e-4], (0.0, 2.5e-4)),
        ([0.0, 0.0], (0.0, 0.1)),
    ],
)
def test_limits_are_round_and_hold_every_value(values: list[float], limits: tuple[float, float]) -> None:
    assert limits_of(np.array(values), logarithmic=False) == pytest.approx(limits)


def test_limits_stay_as_values_come_in_between() -> None:
    assert limits_of(np.array([1.02, 3.3]), False) == limits_of(np.array([1.02, 1.7, 3.3, 3.29]), False)


def test_logarithmic_limits_are_round_too() -> None:
    low, high = limits_of(np.log10([1.02, 3.3]), logarithmic=True)
    assert (10**low, 10**high) == pytest.approx((1.0, 4.0))

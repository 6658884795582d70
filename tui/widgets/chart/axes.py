"""Where the ticks of a chart stand, and what they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from textual_plot.axis_formatter import AxisFormatter

SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
ROUND = (1.0, 2.0, 5.0)
SMALL = 1e-4  # what is less is written as a power of ten
FINE = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)


def round_up(size: float, factors: Sequence[float] = ROUND) -> float:
    """The least of `factors` times a power of ten that is not below `size`, which is greater than 0."""
    power = 10.0 ** math.floor(math.log10(size))
    return next((factor * power for factor in factors if factor * power >= size * (1 - 1e-9)), 10.0 * power)


def round_down(size: float, factors: Sequence[float] = ROUND) -> float:
    """The greatest of `factors` times a power of ten that is not above `size`, which is greater than 0."""
    power = 10.0 ** math.floor(math.log10(size))
    return max(factor * power for factor in factors if factor * power <= size * (1 + 1e-9))


def multiples(low: float, high: float, unit: float) -> list[float]:
    """The multiples of `unit` from `low` to `high`."""
    first, last = math.ceil(low / unit - 1e-6), math.floor(high / unit + 1e-6)
    return [unit * number for number in range(first, last + 1)]


def limits_of(values: NDArray[np.floating], logarithmic: bool) -> tuple[float, float]:
    """Axis limits at round numbers, so that they, and with them the whole picture, move seldom as values come in."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        low, high = math.log10(round_down(10.0**low, FINE)), math.log10(round_up(10.0**high, FINE))
        return low, max(high, low + 0.1)
    spread, size = high - low, max(abs(low), abs(high))
    unit = round_down((spread if spread > 1e-9 * size else size) / 4 if size > 1e-30 else 0.1)
    return unit * math.floor(low / unit), unit * (math.floor(high / unit) + 1)


class Axis(AxisFormatter):
    """Ticks at round numbers, as many as there is room for. `write` says what a tick reads, given their distance."""

    def __init__(self, write: Callable[[float, float], str]) -> None:
        self.write = write
        self.room = 5

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        return multiples(min_, max_, self.unit(min_, max_))

    def unit(self, low: float, high: float) -> float:
        """The distance of ticks between `low` and `high`."""
        return round_up((high - low) / self.room)

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        unit = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks else 1.0
        return [self.write(tick, unit or 1.0) for tick in ticks]


class StepAxis(Axis):
    """Steps are whole."""

    def unit(self, low: float, high: float) -> float:
        return max(1.0, super().unit(low, high))


class TimeAxis(Axis):
    """Ticks at round seconds, minutes, hours and days."""

    def unit(self, low: float, high: float) -> float:
        wanted = (high - low) / self.room
        if wanted < 1 or wanted > SECONDS[-1]:
            return round_up(wanted) if wanted < 1 else 86400.0 * round_up(wanted / 86400.0)
        return next(float(unit) for unit in SECONDS if unit >= wanted)


class LogAxis(Axis):
    """Of values whose decimal logarithm is drawn: decades, or parts of them, as there is room."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        decades = max_ - min_
        if decades < 1:
            low, high = 10.0**min_, 10.0**max_
            return [math.log10(tick) for tick in multiples(low, high, self.unit(low, high)) if tick > 0]
        if 3 * decades <= self.room:
            whole = range(math.floor(min_), math.ceil(max_) + 1)
            ticks = [power + math.log10(factor) for power in whole for factor in ROUND]
            return [tick for tick in ticks if min_ - 1e-9 <= tick <= max_ + 1e-9]
        return multiples(min_, max_, max(1.0, math.ceil(decades / self.room)))

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        values = [10.0**tick for tick in ticks]
        gaps = np.diff(values)
        return [self.write(value, float(gap)) for value, gap in zip(values, [*gaps[:1], *gaps], strict=False)] or [
            self.write(value, value) for value in values
        ]


def write_number(value: float, unit: float) -> str:
    """As many decimals as tell ticks `unit` apart: `0.25`, `1.5`, `200`, `5k`, `1.2M`, `2e-5`."""
    if unit < SMALL:
        return write_power(value, unit)
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size and unit >= size / 1000:
            return f"{_trim(f'{value / size:.{_decimals(unit / size)}f}')}{letter}"
    return f"{value:.{_decimals(unit)}f}"


def write_power(value: float, unit: float) -> str:
    """A learning rate: `1e-4`, `2.5e-5`, `0`."""
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    return f"{_trim(f'{value / 10.0**power:.{min(2, _decimals(unit / 10.0**power))}f}')}e{power}"


def write_time(seconds: float, unit: float) -> str:
    """`30s`, `5m`, `1h30m`, `2d`; parts of a second as `0.5s`."""
    if unit < 1:
        return f"{seconds:.{_decimals(unit)}f}s"
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    parts = [f"{number}{name}" for number, name in zip((days, hours, minutes, rest), "dhms", strict=True) if number]
    return "".join(parts[:2]) or "0"


def _trim(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _decimals(unit: float) -> int:
    """After the point, to write multiples of `unit`, which is round."""
    if unit <= 0:
        return 0
    places = max(0, -math.floor(math.log10(unit) + 1e-9))
    return places if abs(unit * 10**places - round(unit * 10**places)) < 1e-6 else places + 1

"""The ticks of a chart and their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
ROUND = (1.0, 2.0, 5.0)
SMALL = 1e-4  # a smaller number is written as a power of ten
FINE = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)


def round_up(size: float, factors: Sequence[float] = ROUND) -> float:
    """Return the least of `factors` times a power of ten that is not below `size`, which is greater than 0."""
    power = 10.0 ** math.floor(math.log10(size))
    return next((factor * power for factor in factors if factor * power >= size * (1 - 1e-9)), 10.0 * power)


def round_down(size: float, factors: Sequence[float] = ROUND) -> float:
    """Return the greatest of `factors` times a power of ten that is not above `size`, which is greater than 0."""
    power = 10.0 ** math.floor(math.log10(size))
    return max(factor * power for factor in factors if factor * power <= size * (1 + 1e-9))


def multiples(low: float, high: float, unit: float) -> list[float]:
    """Return the multiples of `unit` from `low` to `high`."""
    first, last = math.ceil(low / unit - 1e-6), math.floor(high / unit + 1e-6)
    return [unit * number for number in range(first, last + 1)]


def limits_of(values: NDArray[np.floating], logarithmic: bool) -> tuple[float, float]:
    """Return axis limits at round numbers, so that the picture seldom moves as values come in."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        low, high = math.log10(round_down(10.0**low, FINE)), math.log10(round_up(10.0**high, FINE))
        return low, max(high, low + 0.1)
    spread, size = high - low, max(abs(low), abs(high))
    unit = round_down((spread if spread > 1e-9 * size else size) / 4 if size > 1e-30 else 0.1)
    return unit * math.floor(low / unit), unit * (math.floor(high / unit) + 1)


class Axis:
    """Ticks at round numbers, their labels written by `write(value, distance of the ticks)`."""

    def __init__(self, write: Callable[[float, float], str]) -> None:
        self.write = write

    def labelled_ticks(self, low: float, high: float, most: int) -> list[tuple[float, str]]:
        """Place about `most` ticks between `low` and `high`, and label them."""
        ticks = self.ticks(low, high, most)
        return [(tick, label) for tick, label in zip(ticks, self.labels(ticks), strict=True) if low <= tick <= high]

    def ticks(self, low: float, high: float, most: int) -> list[float]:
        """Place about `most` ticks; rounding may put the first and the last just outside the limits."""
        return multiples(low, high, self.distance(low, high, most))

    def distance(self, low: float, high: float, most: int) -> float:
        """Return the distance between two ticks."""
        return round_up((high - low) / most)

    def labels(self, ticks: Sequence[float]) -> list[str]:
        """Write each tick with as many decimals as the distance of all needs."""
        distance = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks else 1.0
        return [self.write(tick, distance or 1.0) for tick in ticks]


class StepAxis(Axis):
    """Ticks at whole steps."""

    def distance(self, low: float, high: float, most: int) -> float:
        return max(1.0, super().distance(low, high, most))


class TimeAxis(Axis):
    """Ticks at round seconds, minutes, hours and days."""

    def distance(self, low: float, high: float, most: int) -> float:
        least = (high - low) / most
        if least < 1 or least > SECONDS[-1]:
            return round_up(least) if least < 1 else 86400.0 * round_up(least / 86400.0)
        return next(float(distance) for distance in SECONDS if distance >= least)


class LogAxis(Axis):
    """Ticks at decades, or parts of them, on an axis that shows the decimal logarithm of values."""

    def ticks(self, low: float, high: float, most: int) -> list[float]:
        decades = high - low
        if decades < 1:
            values = super().ticks(10.0**low, 10.0**high, most)
            return [math.log10(value) for value in values if value > 0]
        if 3 * decades <= most:
            powers = range(math.floor(low), math.ceil(high) + 1)
            ticks = [power + math.log10(factor) for power in powers for factor in ROUND]
            return [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9]
        return multiples(low, high, max(1.0, math.ceil(decades / most)))

    def labels(self, ticks: Sequence[float]) -> list[str]:
        values = [10.0**tick for tick in ticks]
        gaps = [after - before for before, after in pairwise(values)] or values[:1]
        return [self.write(value, gap) for value, gap in zip(values, [*gaps[:1], *gaps], strict=False)]


def write_number(value: float, unit: float) -> str:
    """Write a tick with the decimals that a distance of `unit` needs: `0.25`, `1.5`, `200`, `5k`, `1.2M`, `2e-5`."""
    if unit < SMALL:
        return write_power(value, unit)
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size and unit >= size / 1000:
            return f"{_trim(f'{value / size:.{_decimals(unit / size)}f}')}{letter}"
    return f"{value:.{_decimals(unit)}f}"


def write_power(value: float, unit: float) -> str:
    """Write a learning rate: `1e-4`, `2.5e-5`, `0`."""
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    return f"{_trim(f'{value / 10.0**power:.{min(2, _decimals(unit / 10.0**power))}f}')}e{power}"


def write_time(seconds: float, unit: float) -> str:
    """Write a time: `30s`, `5m`, `1h30m`, `2d`; parts of a second as `0.5s`."""
    if unit < 1:
        return f"{seconds:.{_decimals(unit)}f}s"
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    parts = [f"{number}{name}" for number, name in zip((days, hours, minutes, rest), "dhms", strict=True) if number]
    return "".join(parts[:2]) or "0"


def _trim(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _decimals(unit: float) -> int:
    """Return the decimals that multiples of `unit`, a round number, need."""
    if unit <= 0:
        return 0
    places = max(0, -math.floor(math.log10(unit) + 1e-9))
    return places if abs(unit * 10**places - round(unit * 10**places)) < 1e-6 else places + 1

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from engine.alerts.plateau import BINS, GAIN, LossTrend, is_flat


def trend_of(losses: list[float], warmup: int = 0) -> LossTrend:
    trend = LossTrend(warmup)
    trend.extend(range(1, len(losses) + 1), losses)
    return trend


def noisy(losses: list[float], size: float) -> list[float]:
    chance = random.Random(7)
    return [loss + chance.gauss(0, size) for loss in losses]


def test_bound_is_that_of_numpys_fit() -> None:
    chance = random.Random(3)
    for slope in (-0.02, -0.001, 0.0, 0.001):
        points = [(float(x), 2.0 + slope * x + chance.gauss(0, 0.01)) for x in range(50)]
        steps, losses = (np.array(values) for values in zip(*points, strict=True))
        fitted, covariance = np.polyfit(steps, losses, 1, cov=True)
        most = (2 * math.sqrt(covariance[0, 0]) - fitted[0]) * 49
        mean = sum(y for _, y in points) / 50
        assert is_flat(points) is bool(most < GAIN * mean)


def test_loss_that_still_falls_is_on_no_plateau() -> None:
    assert not trend_of(noisy([3 - 2 * step / 3000 for step in range(3000)], 0.05)).has_flattened()


@pytest.mark.parametrize("steps", [1000, 3000, 100_000])
def test_loss_that_stays_is_on_a_plateau(steps: int) -> None:
    falling = [1 + 2 * math.exp(-20 * step / steps) for step in range(steps)]
    assert trend_of(noisy(falling, 0.02)).has_flattened()


def test_noise_that_could_hide_a_fall_is_no_plateau() -> None:
    assert not trend_of(noisy([1.0] * 150, 0.5)).has_flattened()


def test_nothing_is_said_of_a_few_steps_or_of_warm_up() -> None:
    assert not trend_of([1.0] * 99).has_flattened()
    assert trend_of([1.0] * 100).has_flattened()
    assert not trend_of([1.0] * 500, warmup=450).has_flattened()


def test_nothing_is_said_of_the_first_part_of_a_long_run() -> None:
    assert not trend_of([1.0] * 299).has_flattened(1000)
    assert trend_of([1.0] * 300).has_flattened(1000)


def test_rising_loss_counts_as_one_that_does_not_fall() -> None:
    assert trend_of([1 + step / 500 for step in range(500)]).has_flattened()


def test_what_is_no_number_counts_for_nothing() -> None:
    assert trend_of([1.0, math.nan, math.inf] * 50).steps == 50


def test_it_takes_no_more_room_for_many_steps() -> None:
    trend = trend_of([float(step) for step in range(300_000)])
    assert len(trend._bins) < BINS
    assert trend._bins[0] == ((1 + trend._width) / 2, (trend._width - 1) / 2)

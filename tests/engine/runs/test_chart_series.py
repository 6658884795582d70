from __future__ import annotations

import math
from array import array

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runs.chart_series import (
    PART,
    Metric,
    Points,
    Series,
    XAxis,
    bin_width,
    keep_extremes,
    nearest,
    points_of,
    smooth,
    x_of_steps,
)
from engine.runs.curve import Curve
from engine.runs.events import AnyEvent, Evaluated
from engine.runs.snapshot import RunSnapshot
from tests.support.steps import step

LOSSES = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=300)


def series_of(*events: AnyEvent) -> Series:
    run = RunSnapshot(events)
    return Series("a run", run.curve, run.evaluations)


def evaluated(number: int, loss: float | None) -> Evaluated:
    return Evaluated(time=1.0, step=number, eval_loss=loss, perplexity=None, supervised_tokens=1)


def shown(series: Series, metric: Metric, along: XAxis = XAxis.STEP) -> Points:
    return points_of(series, x_of_steps(series.curve, along), metric, along)


def test_eval_losses_begin_with_the_adapter_that_training_starts_from() -> None:
    initial = msgspec.structs.replace(evaluated(0, 2.0), initial_adapter=True)
    steps = [step(1), step(2)]
    for events, losses in (([evaluated(0, 3.0), initial], [2.0, 1.0]), ([evaluated(0, 3.0)], [3.0, 1.0])):
        points = shown(series_of(*events, *steps, evaluated(2, 1.0)), Metric.EVAL_LOSS)
        assert (points.steps.tolist(), points.y.tolist()) == ([0, 2], losses)


# binning


@given(LOSSES, st.integers(0, 5), st.integers(0, 1000))
def test_every_bin_keeps_its_least_and_its_greatest_value_and_no_other(
    losses: list[float], power: int, first: int
) -> None:
    width = 2**power
    steps, values = np.arange(first, first + len(losses)), np.array(losses, np.float32)
    indices = keep_extremes(steps, values, width)
    assert list(indices) == sorted(set(indices))
    for begin in range(first // width * width, first + len(losses), width):
        inside = [index for index, number in enumerate(steps) if begin <= number < begin + width]
        chosen = [index for index in indices if index in inside]
        assert 1 <= len(chosen) <= max(2, len(inside) if len(losses) < 3 else 0)
        assert {min(losses[index] for index in inside), max(losses[index] for index in inside)} == {
            min(losses[index] for index in chosen),
            max(losses[index] for index in chosen),
        }


def test_one_spike_of_a_million_steps_survives() -> None:
    values = np.ones(1_000_000, np.float32)
    values[[123_456, 765_432]] = 50.0, -7.0
    indices = keep_extremes(np.arange(1, 1_000_001), values, bin_width(1_000_000, 60))
    assert {123_456, 765_432} <= set(indices.tolist())
    assert len(indices) <= 4 * 60


@given(LOSSES, LOSSES, st.integers(1, 5))
def test_appended_steps_change_only_the_last_bin(before: list[float], after: list[float], power: int) -> None:
    width = 2**power
    values = np.array(before + after, np.float32)
    steps = np.arange(1, len(values) + 1)
    old = keep_extremes(steps[: len(before)], values[: len(before)], width)
    new = keep_extremes(steps, values, width)
    last_bin = len(before) // width * width  # the step that the last one of the old bins begins with
    if len(before) >= 3:
        assert [index for index in old if steps[index] < last_bin] == [
            index for index in new if steps[index] < last_bin
        ]


def test_steps_that_are_missing_move_no_bin() -> None:
    steps = np.array([1, 2, 3, 4, 9, 10, 11, 13])
    values = np.array([5.0, 1, 3, 2, 7, 8, 9, 0])
    assert keep_extremes(steps, values, 4).tolist() == [0, 1, 3, 4, 6, 7]  # 1-3, 4, 9-11, 13


def test_steps_in_disorder_as_a_damaged_log_may_have_them_do_no_harm() -> None:
    steps = np.array([5, 2**62, 3, -4, 5])
    assert set(keep_extremes(steps, np.arange(5.0), 8).tolist()) <= set(range(5))


@pytest.mark.parametrize(
    ("steps", "bins", "width"),
    [(10, 100, 1), (100, 100, 1), (199, 100, 1), (200, 100, 2), (399, 100, 2), (1e6, 100, 8192), (0, 0, 1)],
)
def test_width_of_bins_is_a_power_of_two(steps: float, bins: int, width: int) -> None:
    assert bin_width(steps, bins) == width


# smoothing


def test_smoothing_by_hand() -> None:
    """Span 3: each value weighs half of the next."""
    smoothed = smooth(np.array([4.0, 2.0, 6.0]), 3)
    assert smoothed.tolist() == pytest.approx([4.0, (2 + 4 / 2) / 1.5, (6 + 2 / 2 + 4 / 4) / 1.75])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), st.integers(2, 100))
def test_smoothing_is_the_weighted_mean_that_its_formula_says(values: list[float], span: int) -> None:
    weight = 1 - 2 / (span + 1)
    expected = [
        math.fsum(weight**lag * values[at - lag] for lag in range(at + 1))
        / math.fsum(weight**lag for lag in range(at + 1))
        for at in range(len(values))
    ]
    assert smooth(np.array(values), span).tolist() == pytest.approx(expected, abs=1e-5)


def test_smoothing_goes_on_from_part_to_part() -> None:
    """The recurrence, value by value, over more than is smoothed at once."""
    values = np.random.default_rng(0).normal(size=2 * PART + 100)
    weight = 1 - 2 / (501)
    sums, weights, expected = 0.0, 0.0, []
    for value in values:
        sums, weights = weight * sums + value, weight * weights + 1
        expected.append(sums / weights)
    assert np.abs(smooth(values, 500) - expected).max() < 1e-6


def test_later_values_do_not_change_smoothed_ones() -> None:
    values = np.random.default_rng(1).normal(size=PART + 500)
    assert np.array_equal(smooth(values, 40)[:PART], smooth(values[:PART], 40))


# metrics


def test_metrics_are_those_of_the_steps() -> None:
    series = series_of(step(1, loss=2.0, seconds=0.5), step(2, loss=1.5, grad_norm=0.25, tokens=300))
    assert shown(series, Metric.TRAIN_LOSS).y.tolist() == [2.0, 1.5]
    assert shown(series, Metric.LEARNING_RATE).y.tolist() == pytest.approx([1e-4, 1e-4])
    assert shown(series, Metric.GRAD_NORM).y.tolist() == [0.5, 0.25]
    assert shown(series, Metric.TOKENS_PER_SECOND).y.tolist() == [200.0, 300.0]
    assert shown(series, Metric.MEMORY).y.tolist() == pytest.approx([1.0, 1.0])


def test_losses_that_are_not_finite_are_left_out_and_named() -> None:
    points = shown(series_of(step(1), step(2, loss=None), step(3), step(4, loss=None)), Metric.TRAIN_LOSS)
    assert (points.steps.tolist(), points.x.tolist(), points.lost) == ([1, 3], [1.0, 3.0], [2, 4])


def test_memory_that_was_not_recorded_is_no_loss() -> None:
    series = series_of(step(1))
    series.curve.memory_bytes[0] = math.nan
    assert (len(shown(series, Metric.MEMORY).x), shown(series, Metric.MEMORY).lost) == (0, ())


def test_step_that_took_no_time_has_no_speed() -> None:
    points = shown(series_of(step(1, seconds=0.0), step(2, tokens=50)), Metric.TOKENS_PER_SECOND)
    assert (points.steps.tolist(), points.y.tolist()) == ([2], [50.0])


def test_eval_losses_lie_where_they_were_measured() -> None:
    events: list[AnyEvent] = [evaluated(0, 3.0)]
    events += [step(number, seconds=number) for number in (1, 2, 3, 4)]
    series = series_of(*events, evaluated(2, 2.0), evaluated(3, None), evaluated(4, 1.0))
    points = shown(series, Metric.EVAL_LOSS, XAxis.TIME)
    assert (points.steps.tolist(), points.y.tolist(), points.lost) == ([0, 2, 4], [3.0, 2.0, 1.0], [3])
    assert points.x.tolist() == [0.0, 3.0, 10.0]  # seconds of training until then
    assert shown(series, Metric.EVAL_LOSS, XAxis.EPOCH).x.tolist() == pytest.approx([0.0, 0.2, 0.4])


def test_time_and_epochs_add_up_along_the_steps() -> None:
    series = series_of(*(step(number, seconds=2.0) for number in (1, 2, 3)))
    assert shown(series, Metric.TRAIN_LOSS, XAxis.TIME).x.tolist() == [2.0, 4.0, 6.0]
    assert shown(series, Metric.TRAIN_LOSS, XAxis.EPOCH).x.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_run_without_steps_has_no_points() -> None:
    for metric in Metric:
        for along in XAxis:
            assert len(shown(series_of(), metric, along).x) == 0


# what a curve keeps


def test_curve_grows_again_once_no_view_of_its_arrays_exists() -> None:
    series = series_of(step(1), step(2))
    assert shown(series, Metric.TRAIN_LOSS).y.tolist() == [1.0, 1.0]
    series.curve.append(step(3))
    assert len(shown(series, Metric.TRAIN_LOSS).y) == 3


def test_curve_says_when_it_has_changed() -> None:
    curve = Curve()
    revisions = [curve.revision]
    curve.append(step(1))
    revisions.append(curve.revision)
    curve.append(step(2))
    revisions.append(curve.revision)
    curve.keep_until(1)
    assert len({*revisions, curve.revision}) == 4


def test_numbers_too_large_for_the_arrays_are_left_out() -> None:
    curve = Curve()
    curve.append(step(2**70))
    curve.append(step(1, tokens=10**400))
    curve.append(step(2, loss=1e300))
    assert (curve.steps, len(curve.losses), math.isinf(curve.losses[0])) == (array("q", [2]), 1, True)


def test_nearest_value_is_found_from_either_side() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert [nearest(x, target) for target in (-5, 1.4, 1.6, 2.9, 3.1, 99)] == [0, 0, 1, 1, 2, 2]

"""Compute the points of a chart's curves: a metric against an axis, smoothed, and binned so that spikes are kept.

An array without gaps is a view of the run's own array, which cannot grow while the view exists.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.runs.curve import Curve
from engine.runs.events import Evaluated

Numbers: TypeAlias = NDArray[np.float64] | NDArray[np.float32]
StepNumbers: TypeAlias = NDArray[np.int64]

GIB = 2.0**30
VAST, TINY = 1e30, 1e-30  # values outside these bounds are not measurements, and cannot be drawn
PART = 8192  # values that are processed at once: they fit a processor's cache


class Series(NamedTuple):
    """One run on a chart, with its label there."""

    label: str
    curve: Curve
    evaluations: Sequence[Evaluated] = ()


class Metric(Enum):
    """A metric of a run that a chart can show."""

    TRAIN_LOSS = "train loss"
    EVAL_LOSS = "eval loss"
    LEARNING_RATE = "learning rate"
    GRAD_NORM = "gradient norm"
    TOKENS_PER_SECOND = "tokens/s"
    MEMORY = "peak memory"


NOISY = (Metric.TRAIN_LOSS, Metric.GRAD_NORM, Metric.TOKENS_PER_SECOND)  # worth smoothing


class XAxis(Enum):
    """The x axis of a chart; time is training time, in seconds."""

    STEP = "step"
    EPOCH = "epoch"
    TIME = "time"


class Points(NamedTuple):
    """A metric of one run: steps, their x coordinates, and values, all of the same length and finite.

    `lost` are the steps whose value is not finite.
    """

    steps: StepNumbers
    x: Numbers
    y: Numbers
    lost: Sequence[int] = ()

    def only(self, mask: NDArray[np.bool]) -> Points:
        """Return the points where `mask` is True."""
        if mask.all():
            return self
        return Points(self.steps[mask], self.x[mask], self.y[mask], self.lost)


def x_of_steps(curve: Curve, along: XAxis) -> Numbers:
    """Return the x coordinates of the steps of a curve."""
    with np.errstate(all="ignore"):
        if along is XAxis.TIME:
            return np.cumsum(np.frombuffer(curve.seconds, np.float32), dtype=np.float64)
        return np.multiply(curve.steps, curve.epochs_per_step if along is XAxis.EPOCH else 1.0)


def x_at(curve: Curve, x: Numbers, steps: Sequence[int], along: XAxis) -> Numbers:
    """Return the x coordinates of `steps`; `x` are those of the curve's steps.

    On the time axis a step that the curve does not have gets the coordinate of the step before it.
    """
    if along is not XAxis.TIME:
        with np.errstate(all="ignore"):
            return np.multiply(steps, curve.epochs_per_step if along is XAxis.EPOCH else 1.0)
    return np.append(0.0, x)[[bisect_right(curve.steps, step) for step in steps]]


def points_of(series: Series, x: Numbers, metric: Metric, along: XAxis) -> Points:
    """Return the points of a metric; `x` are the coordinates of the run's steps.

    A loss or norm that is not finite is lost; of other metrics such a value is left out.
    """
    if metric is Metric.EVAL_LOSS:
        return eval_loss_points(series, x, along)
    steps = np.frombuffer(series.curve.steps, np.int64)
    y = _values(series.curve, metric)
    usable = np.abs(y) < VAST
    lost = steps[~usable].tolist() if metric in (Metric.TRAIN_LOSS, Metric.GRAD_NORM) else ()
    usable &= np.abs(x) < VAST
    return Points(steps, x, y, lost).only(usable)


def eval_loss_points(series: Series, x: Numbers, along: XAxis) -> Points:
    """Return the eval losses of a run at the steps where they were measured; `x` are the coordinates of its steps.

    The first is that of the adapter it starts from, or of the base model if that is what it starts from.
    """
    begin = next((place for place, event in enumerate(series.evaluations) if event.initial_adapter), 0)
    evaluations = series.evaluations[begin:]
    lost = [evaluated.step for evaluated in evaluations if evaluated.eval_loss is None]
    measured = [(event.step, event.eval_loss) for event in evaluations if event.eval_loss is not None]
    steps = [step for step, _ in measured]
    coordinates = x_at(series.curve, x, steps, along)
    points = Points(np.array(steps, np.int64), coordinates, np.array([loss for _, loss in measured], float), lost)
    return points.only((np.abs(coordinates) < VAST) & (np.abs(points.y) < VAST))


def _values(curve: Curve, metric: Metric) -> Numbers:
    match metric:
        case Metric.LEARNING_RATE:
            return np.frombuffer(curve.learning_rates, np.float32)
        case Metric.GRAD_NORM:
            return np.frombuffer(curve.grad_norms, np.float32)
        case Metric.TOKENS_PER_SECOND:
            with np.errstate(all="ignore"):
                return np.divide(curve.tokens, curve.seconds, dtype=np.float32)
        case Metric.MEMORY:
            return np.multiply(curve.memory_bytes, 1 / GIB, dtype=np.float32)
    return np.frombuffer(curve.losses, np.float32)


def smooth(values: Numbers, span: int) -> NDArray[np.float32]:
    """Return the exponential moving average over about `span` values (at least 2), not biased towards 0 at the start.

    With w = 1 - 2 / (span + 1): y[t] = (x[t] + w x[t-1] + w² x[t-2] + ...) / (1 + w + w² + ...). This is pandas'
    `ewm(span=span, adjust=True).mean()`, TensorBoard's smoothing with weight w, and the bias correction of Adam (Kingma
    and Ba 2015, section 3). Later values never change earlier results.
    """
    smoothed = np.empty(len(values), np.float32)
    decay = 1.0 - 2.0 / (span + 1.0)
    powers = decay ** np.arange(1.0, PART + 1.0)
    carried = 0.0
    for begin in range(0, len(values), PART):
        sums = np.array(values[begin : begin + PART], np.float64)
        shift = 1
        while shift < len(sums):  # each pass doubles the number of values in a sum
            sums[shift:] = sums[shift:] + decay**shift * sums[:-shift]
            shift *= 2
        sums += carried * powers[: len(sums)]
        smoothed[begin : begin + PART] = sums * (1.0 - decay) / (1.0 - decay**begin * powers[: len(sums)])
        carried = sums[-1]
    return smoothed


def bin_width(steps: float, bins: int) -> int:
    """Return the power of two, at least 1, that cuts `steps` into at least `bins` parts, but not twice as many."""
    return 1 << max(0, math.floor(math.log2(min(max(1.0, steps / max(1, bins)), 2.0**62))))


def keep_extremes(steps: StepNumbers, values: Numbers, width: int) -> NDArray[np.intp]:
    """Return the indices of the least and the greatest value of each bin, so that every spike is kept.

    A bin is `width` steps, a power of two, that begin at a multiple of `width`: later steps change only the last bin
    and add new ones. `values` has no NaN.
    """
    if width <= 1 or len(steps) < 3:
        return np.arange(len(steps))
    indices: set[int] = set()
    for begin, end in pairwise([0, *_begins_of_bins(steps, width.bit_length() - 1).tolist(), len(steps)]):
        part = values[begin:end]
        indices |= {begin + int(part.argmin()), begin + int(part.argmax())}
    return np.array(sorted(indices), np.intp)


def _begins_of_bins(steps: StepNumbers, bits: int) -> NDArray[np.intp]:
    """Return the indices at which each bin of `1 << bits` steps begins, without the first."""
    first, last = int(steps[0]) >> bits, int(steps[-1]) >> bits
    if last - first >= len(steps):  # most of the bins are empty
        return np.flatnonzero(np.diff(steps >> bits)) + 1
    begins = np.searchsorted(steps, np.arange(first + 1, last + 1) << bits)
    return begins[np.diff(begins, prepend=0) > 0]  # without empty bins


def nearest(x: Numbers, target: float) -> int:
    """Return the index of the value nearest to `target` in `x`, which rises and is not empty."""
    index = int(np.searchsorted(x, target))
    if index and (index == len(x) or target - x[index - 1] <= x[index] - target):
        return index - 1
    return index

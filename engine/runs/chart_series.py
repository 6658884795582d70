"""The numbers of a chart's curves: what is measured, against what, smoothed, and binned so that spikes are kept.

Arrays that nothing had to be left out of are views of the run's own: while one is held, the run takes no step.
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
VAST, TINY = 1e30, 1e-30  # what is not within them is no measurement, and nothing that could be drawn
PART = 8192  # values at once, which a processor's cache holds


class Series(NamedTuple):
    """One run on a chart, by the name it has there."""

    label: str
    curve: Curve
    evaluations: Sequence[Evaluated] = ()


class Metric(Enum):
    """What a chart can show of a run."""

    TRAIN_LOSS = "train loss"
    EVAL_LOSS = "eval loss"
    LEARNING_RATE = "learning rate"
    GRAD_NORM = "gradient norm"
    TOKENS_PER_SECOND = "tokens/s"
    MEMORY = "peak memory"


NOISY = (Metric.TRAIN_LOSS, Metric.GRAD_NORM, Metric.TOKENS_PER_SECOND)  # what there is to smooth


class Along(Enum):
    """What a chart shows a metric against; time is that of training, in seconds."""

    STEP = "step"
    EPOCH = "epoch"
    TIME = "time"


class Points(NamedTuple):
    """A metric of one run: steps, where they lie on the x axis, and values, all of one length and all finite.

    `lost` are the steps whose value is no number.
    """

    steps: StepNumbers
    x: Numbers
    y: Numbers
    lost: Sequence[int] = ()

    def only(self, wanted: NDArray[np.bool]) -> Points:
        """Those that are `wanted`."""
        if wanted.all():
            return self
        return Points(self.steps[wanted], self.x[wanted], self.y[wanted], self.lost)


def x_of_steps(curve: Curve, along: Along) -> Numbers:
    """Where on the x axis the steps of a curve lie."""
    with np.errstate(all="ignore"):
        if along is Along.TIME:
            return np.cumsum(np.frombuffer(curve.seconds, np.float32), dtype=np.float64)
        return np.multiply(curve.steps, curve.epochs_per_step if along is Along.EPOCH else 1.0)


def x_at(curve: Curve, x: Numbers, steps: Sequence[int], along: Along) -> Numbers:
    """Where `steps` lie, given where those of the curve do; in time, a step it does not have is at the one before."""
    if along is not Along.TIME:
        with np.errstate(all="ignore"):
            return np.multiply(steps, curve.epochs_per_step if along is Along.EPOCH else 1.0)
    return np.append(0.0, x)[[bisect_right(curve.steps, step) for step in steps]]


def points_of(series: Series, x: Numbers, metric: Metric, along: Along) -> Points:
    """The metric of a run whose steps lie at `x`. A loss or norm that is no number is lost; others are not there."""
    if metric is Metric.EVAL_LOSS:
        return held_out(series, x, along)
    steps = np.frombuffer(series.curve.steps, np.int64)
    y = _values(series.curve, metric)
    usable = np.abs(y) < VAST
    lost = steps[~usable].tolist() if metric in (Metric.TRAIN_LOSS, Metric.GRAD_NORM) else ()
    usable &= np.abs(x) < VAST
    return Points(steps, x, y, lost).only(usable)


def held_out(series: Series, x: Numbers, along: Along) -> Points:
    """The eval losses of a run whose steps lie at `x`, at the steps where they were measured."""
    lost = [item.step for item in series.evaluations if item.eval_loss is None]
    measured = [(item.step, item.eval_loss) for item in series.evaluations if item.eval_loss is not None]
    steps = [step for step, _ in measured]
    places = x_at(series.curve, x, steps, along)
    points = Points(np.array(steps, np.int64), places, np.array([loss for _, loss in measured], float), lost)
    return points.only((np.abs(places) < VAST) & (np.abs(points.y) < VAST))


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
    """Exponential moving average over about `span` values (2 at least), whose start is not drawn towards zero.

    With w = 1 - 2 / (span + 1): y[t] = (x[t] + w x[t-1] + w² x[t-2] + ...) / (1 + w + w² + ...). This is pandas'
    `ewm(span=span, adjust=True).mean()`, TensorBoard's smoothing with weight w, and the bias correction of Adam (Kingma
    and Ba 2015, section 3). No value changes by what comes after it.
    """
    smoothed = np.empty(len(values), np.float32)
    decay = 1.0 - 2.0 / (span + 1.0)
    powers = decay ** np.arange(1.0, PART + 1.0)
    carried = 0.0
    for begin in range(0, len(values), PART):
        sums = np.array(values[begin : begin + PART], np.float64)
        shift = 1
        while shift < len(sums):  # each pass doubles how many values a sum is of
            sums[shift:] = sums[shift:] + decay**shift * sums[:-shift]
            shift *= 2
        sums += carried * powers[: len(sums)]
        smoothed[begin : begin + PART] = sums * (1.0 - decay) / (1.0 - decay**begin * powers[: len(sums)])
        carried = sums[-1]
    return smoothed


def bin_width(steps: float, bins: int) -> int:
    """The power of two that cuts `steps` into at least `bins` parts, and fewer than twice as many; at least 1."""
    return 1 << max(0, math.floor(math.log2(min(max(1.0, steps / max(1, bins)), 2.0**62))))


def keep_extremes(steps: StepNumbers, values: Numbers, width: int) -> NDArray[np.intp]:
    """The indices of the least and the greatest value of each bin, so that every spike is kept.

    A bin is `width` steps that begin at a multiple of `width`: what comes later changes the last bin and adds others.
    `width` is a power of two, `values` are numbers.
    """
    if width <= 1 or len(steps) < 3:
        return np.arange(len(steps))
    kept: set[int] = set()
    for begin, end in pairwise([0, *_begins_of_bins(steps, width.bit_length() - 1).tolist(), len(steps)]):
        part = values[begin:end]
        kept |= {begin + int(part.argmin()), begin + int(part.argmax())}
    return np.array(sorted(kept), np.intp)


def _begins_of_bins(steps: StepNumbers, bits: int) -> NDArray[np.intp]:
    """Where in `steps` each bin of `1 << bits` steps but the first begins."""
    first, last = int(steps[0]) >> bits, int(steps[-1]) >> bits
    if last - first >= len(steps):  # most of the bins are empty
        return np.flatnonzero(np.diff(steps >> bits)) + 1
    begins = np.searchsorted(steps, np.arange(first + 1, last + 1) << bits)
    return begins[np.diff(begins, prepend=0) > 0]  # not those of empty bins


def nearest(x: Numbers, wanted: float) -> int:
    """The index of the value of a rising, not empty `x` that is nearest to `wanted`."""
    index = int(np.searchsorted(x, wanted))
    if index and (index == len(x) or wanted - x[index - 1] <= x[index] - wanted):
        return index - 1
    return index

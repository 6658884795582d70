"""The numbers of a chart's curves: what is measured, against what, smoothed, and binned so that spikes are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.curve import Curve
from engine.events import Evaluated

Numbers = NDArray[np.float64] | NDArray[np.float32]
Indices = NDArray[np.intp]

GIB = 2.0**30
BLOCK = 32


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


class Along(Enum):
    """What a chart shows a metric against."""

    STEP = "step"
    EPOCH = "epoch"
    TIME = "time"


class Points(NamedTuple):
    """A metric of one run, as two arrays of the same length and the steps they belong to; no value is missing.

    `missing` are the steps that have the metric, but no number for it.
    """

    steps: NDArray[np.int64]
    x: Numbers
    y: Numbers
    missing: Sequence[int]


def points_of(series: Series, metric: Metric, along: Along) -> Points:
    """The metric of a run against steps, epochs, or seconds of training."""
    if metric is Metric.EVAL_LOSS:
        return held_out(series, along)
    steps = np.frombuffer(series.curve.steps, np.int64)
    values = _values(series.curve, metric)
    missing: Sequence[int] = ()
    x = _along(series.curve, along)
    if not (usable := np.isfinite(values)).all():
        if metric in (Metric.TRAIN_LOSS, Metric.GRAD_NORM):
            missing = steps[~usable].tolist()
        steps, x, values = steps[usable], x[usable], values[usable]
    return Points(steps, x, values, missing)


def held_out(series: Series, along: Along) -> Points:
    """The eval losses of a run, at the steps where they were measured."""
    measured = [(item.step, item.eval_loss) for item in series.evaluations if item.eval_loss is not None]
    steps = np.array([step for step, _ in measured], np.int64)
    y = np.array([loss for _, loss in measured], np.float64)
    missing = [item.step for item in series.evaluations if item.eval_loss is None]
    return Points(steps, x_of_steps(series.curve, steps, along), y, missing)


def x_of_steps(curve: Curve, steps: NDArray[np.int64], along: Along) -> Numbers:
    """Where on the axis steps lie; those a curve does not have are where the step before is."""
    match along:
        case Along.STEP:
            return steps.astype(np.float64)
        case Along.EPOCH:
            return steps * curve.epochs_per_step
    elapsed = np.concatenate([[0.0], _along(curve, along)])
    return elapsed[np.searchsorted(np.frombuffer(curve.steps, np.int64), steps, side="right")]


def _along(curve: Curve, along: Along) -> Numbers:
    if along is Along.TIME:
        return np.cumsum(np.frombuffer(curve.seconds, np.float32), dtype=np.float64)
    steps = np.frombuffer(curve.steps, np.int64)
    return steps * curve.epochs_per_step if along is Along.EPOCH else steps.astype(np.float64)


def _values(curve: Curve, metric: Metric) -> Numbers:
    match metric:
        case Metric.LEARNING_RATE:
            return np.frombuffer(curve.learning_rates, np.float32)
        case Metric.GRAD_NORM:
            return np.frombuffer(curve.grad_norms, np.float32)
        case Metric.TOKENS_PER_SECOND:
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.divide(curve.tokens, curve.seconds, dtype=np.float32)
        case Metric.MEMORY:
            return np.multiply(curve.memory_bytes, 1 / GIB, dtype=np.float32)
    return np.frombuffer(curve.losses, np.float32)


def smooth(values: Numbers, span: int) -> Numbers:
    """Exponential moving average, of which the start is not drawn towards zero.

    With w = 1 - 2 / (span + 1): y[t] = (x[t] + w x[t-1] + w² x[t-2] + ...) / (1 + w + w² + ...). This is pandas'
    `ewm(span=span, adjust=True).mean()`, TensorBoard's smoothing with weight w, and the bias correction of Adam (Kingma
    and Ba 2015, section 3). A value does not change by what comes after it.
    """
    if span < 2 or not len(values):
        return values
    decay = 1.0 - 2.0 / (span + 1.0)
    weights: NDArray[np.float64] = (1.0 - np.power(decay, np.arange(1.0, len(values) + 1.0))) / (1.0 - decay)
    return np.divide(_decayed_sums(np.asarray(values, np.float64), decay), weights)


def _decayed_sums(values: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    """s[t] = values[t] + decay s[t-1], by blocks: each alone, and then what the blocks before it leave to it."""
    lags = np.subtract.outer(np.arange(BLOCK), np.arange(BLOCK))
    within = np.where(lags >= 0, decay ** np.maximum(lags, 0), 0.0)
    blocks = np.pad(values, (0, -len(values) % BLOCK)).reshape(-1, BLOCK) @ within.T
    if len(blocks) > 1:
        carried = _decayed_sums(blocks[:-1, -1].copy(), decay**BLOCK)
        blocks[1:] += carried[:, None] * decay ** np.arange(1.0, BLOCK + 1.0)
    return blocks.ravel()[: len(values)]


def bin_width(steps: float, bins: int) -> int:
    """The power of two that cuts `steps` into at least `bins` parts, and fewer than twice as many; at least 1."""
    return 1 << max(0, math.floor(math.log2(max(1.0, steps / max(1, bins)))))


def keep_extremes(steps: NDArray[np.int64], values: Numbers, width: int) -> Indices:
    """Where the least and the greatest value of each bin are, so that every spike is kept.

    A bin is `width` steps that begin at a multiple of `width`: what comes later changes the last bin and adds others.
    `steps` rise, `values` are numbers.
    """
    if width <= 1 or len(steps) < 3:
        return np.arange(len(steps))
    edges = np.arange(steps[0] // width, steps[-1] // width + 2) * width
    cuts = np.unique(np.searchsorted(steps, edges)).tolist()
    kept: set[int] = set()
    for begin, end in pairwise(cuts):
        part = values[begin:end]
        kept |= {begin + int(part.argmin()), begin + int(part.argmax())}
    return np.array(sorted(kept), np.intp)

"""Confidence intervals of a loss over held-out examples, or of the difference of two: bootstrap over examples.

A loss per token is a ratio of two sums over examples, and tokens of one example go up and down together: resampling
examples takes both into account, where a deviation over tokens would not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

DRAWS = 10_000
CONFIDENCE = 0.95
CHUNK_WEIGHTS = 1_000_000  # drawn at once: 4 MB, which fits a cache
FEWEST = 8  # examples: resamples of fewer are too much alike to say anything
POWER = 1.96 + 0.84  # quantiles of the normal distribution: a test at 5 % that finds four of five such differences

ONE_THREAD = 4 * 64 * 1024  # multiplications, below which OpenBLAS starts no others (interface/gemm.c)

Values = NDArray[np.float64]
Weights = NDArray[np.float32]


class Interval(Struct, frozen=True):
    """A mean per token, in nats, its standard error, and the ends of its 95 % interval."""

    value: float
    error: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        return self.low <= 0 <= self.high

    def examples_to_settle(self, examples: int) -> float:
        """Number of examples that would distinguish `value` from 0 four times out of five; `examples` were measured.

        The error falls with the square root of their number; infinite for a value of 0.
        """
        return examples * (POWER * self.error / self.value) ** 2 if self.value else math.inf


def mean_per_token(nats: Sequence[float], tokens: Sequence[int]) -> Interval | None:
    """Compute Σ `nats` ÷ Σ `tokens` with its interval; both have one value per example.

    `nats` are the examples' negative log-likelihoods, or the differences of two models' on the same examples: that is
    the paired bootstrap. The interval is the studentised one (B. Efron and R. Tibshirani, An Introduction to the
    Bootstrap, 1993, section 12.5), the error that of a ratio by the delta method, and the weights of a resample are
    independent Poisson(1) counts (N. Chamandy et al., Estimating Uncertainty for Massive Data Streams, 2012). The same
    examples always give the same interval.

    Returns:
        None for fewer than `FEWEST` examples, where a value is not finite, or where nothing varies.
    """
    y, t = np.asarray(nats, np.float64), np.asarray(tokens, np.float64)
    if len(y) < FEWEST or not np.isfinite(y).all() or t.sum() <= 0:
        return None
    value = float(y.sum() / t.sum())
    residual = y - value * t
    error = float(np.sqrt(np.square(residual).sum()) / t.sum())
    if not error > 0:
        return None
    low, high = np.quantile(_studentised(residual, t), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, error, value - float(high) * error, value - float(low) * error)


def _studentised(residual: Values, tokens: Values) -> Values:
    """Return the distance of each resample's value from that of all examples, in the resample's own standard errors.

    Both inputs are scaled first, so that float32 is precise enough.
    """
    r, t = residual / np.abs(residual).max(), tokens / tokens.mean()
    columns = np.stack([r, t, r * r, r * t, t * t], axis=1).astype(np.float32)
    sums = np.concatenate([part for weights in _poisson_weights(len(r)) for part in _products(weights, columns)])
    resampled = sums[sums[:, 1] > 0].astype(np.float64)  # a resample of few examples may be empty
    resampled_r, resampled_t, rr, rt, tt = resampled.T
    shift = resampled_r / resampled_t
    squares = np.maximum(rr - 2 * shift * rt + shift * shift * tt, np.finfo(np.float32).tiny)
    studentised: Values = shift * resampled_t / np.sqrt(squares)
    return studentised


def _products(weights: Weights, columns: Weights) -> Iterator[Weights]:
    """Compute `weights @ columns` in parts so small that OpenBLAS takes each on one thread.

    On a machine that is busy training, threads of its own would spend more time waiting for each other than they save.
    """
    rows = max(1, ONE_THREAD // columns.size)
    return (weights[start : start + rows] @ columns for start in range(0, len(weights), rows))


def _poisson_weights(examples: int) -> Iterator[Weights]:
    """Draw Poisson(1) counts, [some of the draws, examples] at a time, by a table over 16 random bits."""
    chances = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(12)])
    table = np.searchsorted(np.floor(chances * 2**16), np.arange(2**16), side="right").astype(np.float32)
    generator = np.random.Generator(np.random.SFC64(0))
    rows = max(1, CHUNK_WEIGHTS // examples)
    for start in range(0, DRAWS, rows):
        bits = generator.integers(0, 2**16, (min(rows, DRAWS - start), examples), np.uint16)
        yield table.take(bits)

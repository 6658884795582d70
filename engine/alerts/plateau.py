"""Detection of plateaus: a run that has stopped getting better.

By the eval loss: it has not become lower in `EVALUATIONS` evaluations in a row.

By the training loss: over the last third of the steps since warm-up, a line is fitted to it by least squares
(y = a + b·x). With its standard error se(b) = sqrt(Σr² / (n − 2) / Σ(x − x̄)²), the loss falls over that third by no
more than (−b + 2·se(b)) · (x_last − x_first), in some 98 of 100 cases. It is a plateau if even that is less than `GAIN`
of the mean loss. A short or noisy run has a wide error, so that no plateau is found; a run of which less than
`LEAST_SHARE` is done is never on one, as the loss of a long run falls slowly.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

EVALUATIONS = 2
GAIN = 0.02
LEAST_STEPS = 100  # since warm-up, before anything is said
LEAST_SHARE = 0.3  # of all steps
ERRORS = 2.0
BINS = 512


class LossTrend:
    """The training loss so far, as means over equally many steps, at most `BINS` of them."""

    def __init__(self, warmup_steps: int = 0) -> None:
        self._warmup = warmup_steps
        self._width = 1
        self._bins: list[tuple[float, float]] = []  # mean step, mean loss
        self._count, self._step_sum, self._loss_sum = 0, 0.0, 0.0  # of the bin that is not full yet
        self.steps = 0

    def extend(self, steps: Sequence[int], losses: Sequence[float]) -> None:
        """Add rising steps and their losses; a loss that is not finite is skipped."""
        if not math.isfinite(sum(losses)):
            finite = [index for index, loss in enumerate(losses) if math.isfinite(loss)]
            steps, losses = [steps[index] for index in finite], [losses[index] for index in finite]
        start = bisect_right(steps, self._warmup)
        while start < len(losses):
            end = min(len(losses), start + self._width - self._count)
            self._count += end - start
            self._step_sum += sum(steps[start:end])
            self._loss_sum += sum(losses[start:end])
            self.steps += end - start
            start = end
            if self._count == self._width:
                self._close()

    def _close(self) -> None:
        self._bins.append((self._step_sum / self._count, self._loss_sum / self._count))
        self._count, self._step_sum, self._loss_sum = 0, 0.0, 0.0
        if len(self._bins) >= BINS:
            self._bins = [_mean(self._bins[start : start + 2]) for start in range(0, len(self._bins), 2)]
            self._width *= 2

    def has_flattened(self, total_steps: int | None = None) -> bool:
        """Return True if the last third is a plateau; `total_steps` is the run's planned number, None if unknown."""
        if self.steps < max(LEAST_STEPS, LEAST_SHARE * (total_steps or 0)):
            return False
        first, last = self._bins[0][0], self._bins[-1][0]
        return is_flat([point for point in self._bins if point[0] >= last - (last - first) / 3])


def is_flat(points: Sequence[tuple[float, float]]) -> bool:
    """Return True if the loss, the second of each pair, falls by less than `GAIN`, as the module describes."""
    n = len(points)
    if n < 3:
        return False
    x_mean, y_mean = _mean(points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
    residuals = sum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in points)
    error = math.sqrt(residuals / (n - 2) / spread)
    most = (ERRORS * error - slope) * (points[-1][0] - points[0][0])
    return most < GAIN * abs(y_mean)


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return math.fsum(x for x, _ in points) / len(points), math.fsum(y for _, y in points) / len(points)

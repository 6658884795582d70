"""Compare what was predicted of a round with what it took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from msgspec import Struct

from engine.spec.round import Prediction, Round, Status

Figure = Literal["peak_memory", "time", "tokens", "disk"]
FIGURES: tuple[Figure, ...] = ("peak_memory", "time", "tokens", "disk")
LARGEST = 2.0**53  # bytes, seconds or tokens; a file may hold any number
ELSEWHERE = "it ran on another device than it was predicted for"
UNKNOWN = "it is not known on which device it ran"
RESUMED = "it was resumed"
ENDED_EARLY = "it ended early"
DELETED = "older checkpoints were deleted meanwhile"


class PredictedFigure(Struct, frozen=True):
    """A figure of a round as it was predicted, in bytes, seconds or tokens, and as it came.

    Attributes:
        actual: None before the round has finished, and where it cannot be compared.
        reason: why it cannot be compared; "" if it can, or will be.
        interval: between which the figure was likely to be, for the time alone.
    """

    figure: Figure
    predicted: float
    actual: float | None = None
    reason: str = ""
    interval: tuple[float, float] | None = None

    @property
    def error_percent(self) -> float | None:
        """The error of the prediction in per cent of the actual figure, above 0 if it was too high."""
        return None if self.actual is None else 100 * (self.predicted / self.actual - 1)


class FigureErrors(Struct, frozen=True):
    """Errors of the predictions of a figure, in per cent and without their sign.

    Attributes:
        rounds: the number of rounds that were compared.
        worst_round: the number of the round whose prediction was the farthest off.
    """

    rounds: int
    median_percent: float
    worst_percent: float
    worst_round: int


def predicted_figures(round_: Round) -> list[PredictedFigure]:
    """Return each figure that was predicted of a round, with the actual one where the two can be compared."""
    if round_.predicted is None:
        return []
    return [
        _beside_actual(round_, figure, predicted)
        for figure in FIGURES
        if (predicted := _sound(_predicted(round_.predicted, figure))) is not None
    ]


def compared_fields(round_: Round) -> dict[Figure, dict[str, Any]]:
    """Return the figures as JSON outputs have them, by their names; None where they cannot be compared."""
    return {
        each.figure: {
            "predicted": each.predicted, "interval": each.interval, "actual": each.actual,
            "error_percent": each.error_percent, "reason": each.reason,
        }
        for each in predicted_figures(round_)
    }  # fmt: skip


def errors_of(rounds: Iterable[Round]) -> dict[Figure, FigureErrors]:
    """Return the median and the worst error of each figure, without those that cannot be compared in any round."""
    from statistics import median  # which the table of rounds does not wait for

    errors: dict[Figure, list[tuple[float, int]]] = {figure: [] for figure in FIGURES}
    for round_ in rounds:
        for each in predicted_figures(round_):
            if (percent := each.error_percent) is not None:
                errors[each.figure].append((abs(percent), round_.number))
    return {
        figure: FigureErrors(len(each), median(percent for percent, _ in each), *max(each))
        for figure, each in errors.items()
        if each
    }


def peak_ratio(round_: Round) -> float | None:
    """Return the peak memory of a round by the one that was counted for it; None where they cannot be compared."""
    if round_.predicted is None or (counted := _sound(round_.predicted.counted_memory_bytes)) is None:
        return None
    actual = _beside_actual(round_, "peak_memory", counted).actual
    return None if actual is None else actual / counted


def ended_early(round_: Round) -> bool:
    """Return whether a round may have ended before its last step, or its best adapter is only an older one."""
    may_end_early = round_.spec.train.early_stopping_patience is not None
    return may_end_early and round_.result.step != round_.plan.total_steps


def _beside_actual(round_: Round, figure: Figure, predicted: float) -> PredictedFigure:
    interval = _interval(round_) if figure == "time" else None
    if round_.status is not Status.FINISHED:
        return PredictedFigure(figure, predicted, interval=interval)
    reason = _obstacle(round_, figure)
    actual = None if reason else _sound(_actual(round_, figure))
    return PredictedFigure(figure, predicted, actual, reason, interval)


def _interval(round_: Round) -> tuple[float, float] | None:
    """Return the interval of the time, None if it is not one."""
    low, high = (round_.predicted.interval if round_.predicted is not None else None) or (0.0, 0.0)
    return (low, high) if 0 <= low <= high <= LARGEST and high else None


def _predicted(prediction: Prediction, figure: Figure) -> float | None:
    return {
        "peak_memory": prediction.peak_memory_bytes,
        "time": prediction.seconds,
        "tokens": prediction.tokens,
        "disk": prediction.disk_bytes,
    }[figure]


def _actual(round_: Round, figure: Figure) -> float | None:
    elapsed = round_.ended - round_.started if round_.started is not None and round_.ended is not None else None
    return {
        "peak_memory": round_.result.peak_memory_bytes,
        "time": elapsed,
        "tokens": round_.result.trained_tokens,
        "disk": round_.disk_bytes,
    }[figure]


def _sound(value: float | None) -> float | None:
    """Return a figure that can be one, None for any other number that a file may hold."""
    return value if value is not None and 0 < value <= LARGEST else None


def _obstacle(round_: Round, figure: Figure) -> str:
    """Return why a figure of a finished round cannot be compared with its prediction, "" if it can."""
    if figure in ("peak_memory", "time") and not _ran_as_predicted(round_):
        return ELSEWHERE if round_.device else UNKNOWN
    # Start, end and peak are those of the last run alone, and what stopped the one before wrote another checkpoint.
    if figure != "tokens" and round_.resumed_from is not None:
        return RESUMED
    if figure != "peak_memory" and ended_early(round_):
        return ENDED_EARLY
    return DELETED if figure == "disk" and _deletes_checkpoints(round_) else ""


def _ran_as_predicted(round_: Round) -> bool:
    """Return whether a round ran on the kind of device that it was predicted for."""
    prediction = round_.predicted
    if prediction is None or round_.device != ("cuda" if prediction.is_gpu else "cpu"):
        return False
    return round_.gpu is None or round_.gpu in prediction.cards  # the only card of a machine is not assigned


def _deletes_checkpoints(round_: Round) -> bool:
    """Return whether fewer checkpoints are there at the end than were at once, which is what is predicted."""
    limit, planned = round_.spec.train.save_total_limit, round_.plan.checkpoints
    return limit is not None and (planned is None or len(planned) > limit)

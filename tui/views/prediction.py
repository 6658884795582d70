"""Predictions of a round beside what it took, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from engine.compare.columns import format_percent
from engine.planning.accuracy import Figure, PredictedFigure, errors_of, predicted_figures
from engine.spec.round import Round
from engine.text.humanize import format_bytes, format_count, format_duration
from tui.terminal.console import clean_line

NAMES: dict[Figure, str] = {"peak_memory": "peak memory", "time": "time", "tokens": "tokens", "disk": "disk"}
FORMATS = {"peak_memory": format_bytes, "time": format_duration, "tokens": format_count, "disk": format_bytes}
HISTORY_TITLES = ("#", "name", "figure", "predicted", "actual", "error")


def prediction_in_words(round_: Round) -> str:
    """Return all figures that were predicted of a round in a line, "" if there is none."""
    figures = predicted_figures(round_)
    are_compared = any(each.actual is not None for each in figures)
    parts = [f"{NAMES[each.figure]} {_in_a_line(each)}" for each in figures]
    for reason in dict.fromkeys(each.reason for each in figures if each.reason):
        names = [NAMES[each.figure] for each in figures if each.reason == reason]
        which = "" if len(names) == len(figures) else f"{' and '.join(names)} "
        parts.append(f"{which}not compared: {reason}")
    return f"predicted{' → actual' * are_compared}: {' · '.join(parts)}" if parts else ""


def prediction_lines(round_: Round) -> list[tuple[str, str]]:
    """Return a name and a text for each figure that was predicted of a round."""
    return [(f"predicted {NAMES[each.figure]}", _in_full(each)) for each in predicted_figures(round_)]


def history_table(rounds: Iterable[Round]) -> Table:
    """Return a table with a line for each figure that was predicted of each of the rounds."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in HISTORY_TITLES:
        table.add_column(title, justify="left" if title in ("name", "figure") else "right", no_wrap=title != "name")
    for round_ in rounds:
        labels = (Text(str(round_.number)), Text(clean_line(round_.name), no_wrap=True, overflow="ellipsis"))
        for each in predicted_figures(round_):
            actual = _text(each.figure, each.actual) or "–"
            figures = (NAMES[each.figure], _text(each.figure, each.predicted), actual)
            table.add_row(*labels, *map(Text, (*figures, format_percent(each.error_percent))))
            labels = (Text(), Text())
    return table


def error_lines(rounds: Sequence[Round]) -> list[str]:
    """Return a line for each figure on how far off its predictions were, and one on their sign; none without any."""
    lines = [
        f"{NAMES[figure]}: median error {errors.median_percent:.1f} %, worst {errors.worst_percent:.1f} % "
        f"(round {errors.worst_round}), over {errors.rounds} round{'s' * (errors.rounds != 1)}"
        for figure, errors in errors_of(rounds).items()
    ]
    return [*lines, "an error above 0: more was predicted than came"] if lines else []


def _in_a_line(each: PredictedFigure) -> str:
    predicted = _text(each.figure, each.predicted)
    if each.actual is not None:
        return f"{predicted} → {_text(each.figure, each.actual)} ({format_percent(each.error_percent)})"
    return predicted if each.reason else predicted + _interval_in_words(each)


def _in_full(each: PredictedFigure) -> str:
    predicted = _text(each.figure, each.predicted) + _interval_in_words(each)
    if each.actual is not None:
        return f"{predicted}, actual {_text(each.figure, each.actual)}, error {format_percent(each.error_percent)}"
    return predicted + (f", not compared: {each.reason}" if each.reason else "")


def _interval_in_words(each: PredictedFigure) -> str:
    if each.interval is None:
        return ""
    low, high = map(format_duration, each.interval)
    return f" ({low} to {high})"


def _text(figure: Figure, value: float | None) -> str:
    return FORMATS[figure](value)

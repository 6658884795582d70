"""The contents of a chart: the part of each curve that is in view, with its colours and marks."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.runs.chart_series import (
    NOISY,
    TINY,
    VAST,
    Metric,
    Numbers,
    Points,
    Series,
    XAxis,
    bin_width,
    eval_loss_points,
    keep_extremes,
    points_of,
    x_at,
    x_of_steps,
)
from tui.widgets.chart.axes import (
    FINE,
    Axis,
    LogAxis,
    StepAxis,
    TimeAxis,
    limits_of,
    round_down,
    round_up,
    write_number,
    write_power,
    write_time,
)
from tui.widgets.chart.plot import PlotData, PlotMarks, PlotPoints

SMOOTHING = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # shares of the run's steps
LONGEST_SPAN = 10_000_000  # with a longer span the weights of single steps are lost in rounding
MARKS = "●▲■◆▼◀▶" + string.ascii_lowercase
HELD_OUT_MARKS = "○△□◇▽◁▷" + string.ascii_uppercase
COLOURS = 6
MARK_CELLS = 16
TINY_WINDOW = 1e-6  # half the width of a window that is a single point

NO_POINTS = Points(np.empty(0, np.int64), np.empty(0), np.empty(0))

Limits = tuple[float, float]
Smoother = Callable[[int, Points], Numbers]
Styles = Callable[[str], str]


@dataclass
class ChartView:
    """The settings of a chart that a person changes with keys; `window` and `cursor` are in units of the x axis."""

    metric: Metric = Metric.TRAIN_LOSS
    along: XAxis = XAxis.STEP
    logarithmic: bool = False
    smoothing: int = 3
    window: Limits | None = None
    cursor: float | None = None


class SmoothedCurve(NamedTuple):
    """One run's points, and the values of its line: theirs, or the smoothed ones."""

    points: Points
    line: Numbers

    @property
    def is_smoothed(self) -> bool:
        return self.line is not self.points.y


class ChartContents:
    """The runs as a view shows them; it holds their arrays, so do not keep it.

    Attributes:
        everything: the whole x axis, up to the expected end of the longest run, so that it seldom moves.
        window: the part of it that is in view.
        span: the number of steps that curves are smoothed over; 1 means none.
    """

    def __init__(
        self, series: Sequence[Series], total_steps: int | None, view: ChartView, x: Sequence[Numbers] | None = None
    ) -> None:
        """Take `x`, the positions of each run's steps on the view's axis, or compute them."""
        self.series = series
        self.view = view
        self.last_step = max([total_steps or 0, 1, *(item.curve.steps[-1] for item in series if len(item.curve))])
        share = SMOOTHING[view.smoothing]
        self.span = (
            max(2, min(LONGEST_SPAN, round(round_down(share * self.last_step))))
            if share and view.metric in NOISY
            else 1
        )
        self._x = x if x is not None else [x_of_steps(item.curve, view.along) for item in series]
        self.everything = 0.0, self._end()
        low, high = view.window or self.everything
        self.window = (low, high) if low < high else (low - TINY_WINDOW, high + TINY_WINDOW)
        points = self.points_of_metric()
        self.points = [item.only(item.y > TINY) for item in points] if view.logarithmic else points

    def points_of_metric(self) -> list[Points]:
        """Return the points of each run, also those that a logarithmic scale cannot show."""
        pairs = zip(self.series, self._x, strict=True)
        return [points_of(item, x, self.view.metric, self.view.along) for item, x in pairs]

    def _end(self) -> float:
        if self.view.along is XAxis.STEP:
            return float(self.last_step)
        ends: list[float] = []
        for item, x in zip(self.series, self._x, strict=True):
            if not len(x):
                continue
            step, reached = item.curve.steps[-1], float(x[-1])
            if len(self.series) > 1 or step >= self.last_step:
                ends.append(reached)
            elif self.view.along is XAxis.EPOCH:
                ends.append(self.last_step * item.curve.epochs_per_step)
            elif TINY < (estimate := reached * self.last_step / max(1, step)) < VAST:
                ends.append(round_up(estimate, FINE))
        ends = [end for end in ends if TINY < end < VAST]
        return max(ends, default=1.0)

    @property
    def longest(self) -> Points:
        """The points that the cursor goes along."""
        return max(self.points, key=lambda points: len(points.x), default=NO_POINTS)

    def curves(self, smoother: Smoother) -> list[SmoothedCurve]:
        """Return the curve of every run, smoothed by `smoother`."""
        if self.span < 2:
            return [SmoothedCurve(points, points.y) for points in self.points]
        return [SmoothedCurve(points, smoother(number, points)) for number, points in enumerate(self.points)]

    def picture(self, curves: Sequence[SmoothedCurve], width: int, style: Styles) -> PlotData:
        """Return the data to draw on a plane that is `width` cells wide."""
        lines: list[PlotPoints] = []
        marks: list[PlotMarks] = []
        many = len(curves) > 1
        for number, curve in enumerate(curves):
            colour = style(colour_of(number))
            if curve.is_smoothed and not many:
                lines.append(self._line(curve.points, curve.points.y, width, f"dim {colour}"))
            lines.append(self._line(curve.points, curve.line, width, colour))
            if many:
                marks.append(self._marks(lines[-1], number, width, colour))
        if self.view.metric in (Metric.TRAIN_LOSS, Metric.EVAL_LOSS):
            marks += [self._held_out(number, style) for number in range(len(self.series))]
        values = np.concatenate([item.y for item in (*lines, *marks)] or [np.empty(0)])
        low, high = self.window
        lost = [x for number in range(len(self.series)) for x in self._lost(number)]
        return PlotData(
            lines,
            marks,
            x_limits=self.window,
            y_limits=limits_of(values, self.view.logarithmic),
            x_axis=_x_axis(self.view.along),
            y_axis=_y_axis(self.view),
            lost=[x for x in lost if low <= x <= high],
            lost_style=style("lost"),
            cursor=self.view.cursor,
            cursor_style=style("cursor"),
        )

    def _line(self, points: Points, y: Numbers, width: int, style: str) -> PlotPoints:
        """Return a curve's extremes within the window, and the points where it enters and leaves it."""
        low, high = self.window
        begin = max(0, int(np.searchsorted(points.x, low)) - 1)
        end = int(np.searchsorted(points.x, high, side="right")) + 1
        steps, x, y = points.steps[begin:end], points.x[begin:end], y[begin:end]
        if not len(x):
            return PlotPoints(np.empty(0), np.empty(0), style)
        x_per_step = max(TINY, float(points.x[-1]) / float(points.steps[-1] or 1))
        indices = keep_extremes(steps, y, bin_width((high - low) / x_per_step, width))
        x, y = np.asarray(x[indices], float), self._heights(y[indices])
        edges = np.array([edge for edge in self.window if x[0] < edge < x[-1]])
        inside = (x >= low) & (x <= high)
        crossing = np.clip(np.nan_to_num(np.interp(edges, x, y)), y.min(), y.max())  # whatever the order of x
        x, y = np.append(x[inside], edges), np.append(y[inside], crossing)
        order = np.argsort(x, kind="stable")
        return PlotPoints(x[order], y[order], style)

    def _heights(self, y: Numbers) -> Numbers:
        """Return values as heights on the y axis."""
        return np.log10(np.asarray(y, float)) if self.view.logarithmic else np.asarray(y, float)

    def _marks(self, line: PlotPoints, number: int, width: int, style: str) -> PlotMarks:
        """Return marks along a line, which distinguish it without colour, and one at its end."""
        low, high = self.window
        distance = MARK_CELLS * (high - low) / width
        first = low + distance * (number % COLOURS + 0.5) / COLOURS
        places = np.arange(first, min(high, float(line.x[-1])), distance) if len(line.x) else np.empty(0)
        # not by numpy.unique, which brings numpy.ma in, and its 2 MB
        indices = np.array(sorted({*np.searchsorted(line.x, places).tolist(), max(0, len(line.x) - 1)}), np.intp)
        indices = indices[indices < len(line.x)].astype(np.intp)
        return PlotMarks(line.x[indices], line.y[indices], style, mark_of(number))

    def _held_out(self, number: int, style: Styles) -> PlotMarks:
        points = eval_loss_points(self.series[number], self._x[number], self.view.along)
        low, high = self.window
        points = points.only((points.x >= low) & (points.x <= high) & ((points.y > TINY) | (not self.view.logarithmic)))
        many = len(self.series) > 1
        mark = HELD_OUT_MARKS[number % len(HELD_OUT_MARKS)] if many else MARKS[0]
        return PlotMarks(points.x, self._heights(points.y), style(colour_of(number) if many else "held-out"), mark)

    def _lost(self, number: int) -> list[float]:
        lost = self.points[number].lost
        return [float(x) for x in x_at(self.series[number].curve, self._x[number], lost, self.view.along)]


def colour_of(number: int) -> str:
    """Return the style of a run by its place among the runs."""
    return str(number % COLOURS + 1)


def mark_of(number: int) -> str:
    """Return the mark of a run by its place among the runs."""
    return MARKS[number % len(MARKS)]


def _x_axis(along: XAxis) -> Axis:
    if along is XAxis.TIME:
        return TimeAxis(write_time)
    return StepAxis(write_number) if along is XAxis.STEP else Axis(write_number)


def _y_axis(view: ChartView) -> Axis:
    write = write_power if view.metric is Metric.LEARNING_RATE else write_number
    return LogAxis(write) if view.logarithmic else Axis(write)

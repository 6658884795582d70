"""The chart of one run or several: any of its metrics, against steps, epochs or time, to be looked at closely."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click, Resize
from textual.widget import Widget
from textual.widgets import Static
from textual_plot import HiResMode
from textual_plot.plot_widget import LinePlot, ScatterPlot, VLinePlot

from engine.curve_numbers import (
    Along,
    Metric,
    Numbers,
    Points,
    Series,
    bin_width,
    held_out,
    keep_extremes,
    points_of,
    smooth,
    x_of_steps,
)
from engine.units import format_duration
from tui.plain import clean_line
from tui.widgets.curve_axes import (
    Axis,
    LogAxis,
    StepAxis,
    TimeAxis,
    round_down,
    round_up,
    write_number,
    write_power,
    write_time,
)
from tui.widgets.curve_plot import LOST, CurvePlot, Picture

__all__ = ["Along", "CurveChart", "Metric", "Series"]

SMOOTHING = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # shares of the run's steps
MARKS = "●▲■◆▼◀▶"  # one more than there are colours, so that the pairs of both are many
HELD_OUT_MARKS = "○△□◇▽◁▷"
ONE_HELD_OUT = "●"
MARK_CELLS = 16
ZOOM = 2.0
PAN = 0.25
CLOSEST_STEPS = 8
FAINT = "curve-chart--faint"
EMPTY_BECAUSE = {
    Metric.EVAL_LOSS: "not evaluated yet",
    Metric.MEMORY: "no GPU memory was recorded: it did not train on a GPU",
}
LOG_FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)


class Curve(NamedTuple):
    """What is drawn of one series: its values, and those that the line goes through, the same or smoothed."""

    points: Points
    shown: Numbers


class CurveChart(Widget, can_focus=True):
    """Curves with a line above them that says what is shown or, with the cursor, what its values are.

    The metric, the x axis, smoothing, zoom and cursor are the widget's own, by the keys below.
    """

    DEFAULT_CSS = """
    CurveChart {
        layers: below above;
        & > CurvePlot { layer: below; }
        & > .chart-line { layer: above; width: auto; max-width: 100%; height: auto; max-height: 2; padding: 0 1; }
        & > .chart-line { margin-left: 9; background: $background; }
        & > .chart-empty { layer: above; width: 100%; height: 100%; content-align: center middle; display: none; }
        & > .chart-empty { color: $text-muted; padding: 0 1 0 9; text-align: center; }
        & > .curve-chart--1 { color: $primary-lighten-2; }
        & > .curve-chart--2 { color: $success; }
        & > .curve-chart--3 { color: $accent; }
        & > .curve-chart--4 { color: $secondary; }
        & > .curve-chart--5 { color: $error; }
        & > .curve-chart--6 { color: $foreground; }
        & > .curve-chart--held-out { color: $warning; }
        & > .curve-chart--lost { color: $error; text-style: bold; }
        & > .curve-chart--cursor { color: $text-muted; }
        &:focus .plot--axis { color: $primary; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"curve-chart--{number}" for number in range(1, 7)),
        "curve-chart--held-out",
        "curve-chart--lost",
        "curve-chart--cursor",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "m", "metric(1)", "Metric", tooltip="The next metric: losses, rate, norm, speed, memory", id="chart.metric"
        ),
        Binding("M", "metric(-1)", "Metric before", show=False, tooltip="The metric before", id="chart.metric_before"),
        Binding("i", "along", "By", show=False, tooltip="Against steps, epochs, or time of training", id="chart.along"),
        Binding("o", "logarithmic", "Log", show=False, tooltip="A logarithmic scale, and back", id="chart.log"),
        Binding(
            "left_square_bracket",
            "smooth(-1)",
            "Smooth less",
            show=False,
            tooltip="Smooth the curves less",
            id="chart.smooth_less",
        ),
        Binding(
            "right_square_bracket",
            "smooth(1)",
            "Smooth more",
            show=False,
            tooltip="Smooth the curves more",
            id="chart.smooth_more",
        ),
        Binding(
            "left,h",
            "cursor(-1)",
            "Cursor",
            show=False,
            tooltip="The cursor to the left: it reads the values",
            id="chart.left",
        ),
        Binding("right,l", "cursor(1)", "Cursor", show=False, tooltip="The cursor to the right", id="chart.right"),
        Binding(
            "home,g",
            "cursor_end(-1)",
            "First",
            show=False,
            tooltip="The cursor to the first value shown",
            id="chart.first",
        ),
        Binding(
            "end,G", "cursor_end(1)", "Last", show=False, tooltip="The cursor to the last value shown", id="chart.last"
        ),
        Binding(
            "plus,equals_sign", "zoom(1)", "Closer", show=False, tooltip="Zoom in, around the cursor", id="chart.closer"
        ),
        Binding("minus", "zoom(-1)", "Farther", show=False, tooltip="Zoom out", id="chart.farther"),
        Binding(
            "shift+left,H",
            "pan(-1)",
            "Pan",
            show=False,
            tooltip="To what is left of the part shown",
            id="chart.pan_left",
        ),
        Binding(
            "shift+right,L",
            "pan(1)",
            "Pan",
            show=False,
            tooltip="To what is right of the part shown",
            id="chart.pan_right",
        ),
        Binding("0", "all", "All", show=False, tooltip="Everything again, and no cursor", id="chart.all"),
        Binding("f", "full", "Full screen", tooltip="The chart alone on the screen, and back", id="chart.full"),
        Binding("escape", "leave", "Back", tooltip="Out of the full screen", id="chart.leave"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._series: Sequence[Series] = ()
        self._total_steps: int | None = None
        self._drawn: object = None
        self.metric = Metric.TRAIN_LOSS
        self.along = Along.STEP
        self.logarithmic = False
        self.smoothing = 0
        self.window: tuple[float, float] | None = None
        self.cursor: float | None = None
        self._smoothed: dict[int, tuple[object, Numbers]] = {}

    def compose(self) -> ComposeResult:
        yield CurvePlot(self._picture)
        yield Static(markup=False, classes="chart-empty")
        yield Static(markup=False, classes="chart-line")

    def show(self, series: Sequence[Series], total_steps: int | None) -> None:
        """Draw these runs anew, unless nothing has come since the last time."""
        state = [(item.label, id(item.curve), item.curve.revision, len(item.evaluations)) for item in series]
        if (state, total_steps) != self._drawn:
            self._drawn = state, total_steps
            self._series, self._total_steps = series, total_steps
            self._redraw()

    def _redraw(self) -> None:
        if self.is_mounted:
            self.query_one(CurvePlot).redraw()

    # what is drawn

    @property
    def span(self) -> int:
        """How many steps the curves are smoothed over, as `smooth` takes it; 1 is not at all."""
        share = SMOOTHING[self.smoothing]
        return max(2, round(share * self._last_step())) if share else 1

    def _last_step(self) -> int:
        return max([self._total_steps or 0, 1, *(item.curve.steps[-1] for item in self._series if len(item.curve))])

    def _everything(self) -> tuple[float, float]:
        """The whole x axis: as far as the longest run will come, so that it moves seldom."""
        last = self._last_step()
        if self.along is Along.STEP:
            return 0.0, float(last)
        ends = [1e-9]
        for item in self._series:
            if not len(item.curve):
                continue
            if self.along is Along.EPOCH:
                ends.append(last * item.curve.epochs_per_step)
            elif item.curve.steps[-1] >= last:
                ends.append(sum(item.curve.seconds))
            else:
                elapsed = math.fsum(item.curve.seconds)
                ends.append(round_up(elapsed * last / max(1, item.curve.steps[-1]) or 1.0, LOG_FACTORS))
        return 0.0, max(ends) if max(ends) > 1e-9 else 1.0

    def _curves(self) -> Iterator[Curve]:
        for number, item in enumerate(self._series):
            points = points_of(item, self.metric, self.along)
            if self.logarithmic and not (above := points.y > 0).all():
                points = Points(points.steps[above], points.x[above], points.y[above], points.missing)
            yield Curve(points, self._smooth(number, item, points))

    def _smooth(self, number: int, item: Series, points: Points) -> Numbers:
        if self.span < 2 or self.metric is Metric.EVAL_LOSS:
            return points.y
        key = id(item.curve), item.curve.revision, self.metric, self.logarithmic, self.span
        if number not in self._smoothed or self._smoothed[number][0] != key:
            self._smoothed[number] = key, smooth(points.y, self.span).astype(np.float32)
        return self._smoothed[number][1]

    def _picture(self, width: int, height: int) -> Picture:
        low, high = self.window or self._everything()
        lines: list[LinePlot] = []
        markers: list[ScatterPlot] = []
        lost: list[float] = []
        many = len(self._series) > 1
        curves = list(self._curves())
        for number, curve in enumerate(curves):
            style = self._style(f"curve-chart--{number % 6 + 1}")
            if curve.shown is not curve.points.y and not many:
                lines.append(self._line(curve.points, curve.points.y, (low, high), width, f"dim {style}"))
            line = self._line(curve.points, curve.shown, (low, high), width, style)
            lines.append(line)
            if many:
                markers.append(self._marks(line, number, (low, high), width, style))
        for number, item in enumerate(self._series):
            if self.metric in (Metric.TRAIN_LOSS, Metric.EVAL_LOSS):
                markers.append(self._held_out(number, item, (low, high)))
            lost += self._lost(item, curves[number].points)
        drawn = np.concatenate([dataset.y for dataset in (*lines, *markers)] or [np.empty(0)])
        self._tell(curves, not len(drawn))
        y_limits = _limits(drawn, self.logarithmic)
        missing = [x for x in lost if low <= x <= high], self._style("curve-chart--lost")
        return Picture(lines, markers, (low, high), y_limits, self._x_axis(), self._y_axis(), missing)

    def _line(self, points: Points, y: Numbers, limits: tuple[float, float], width: int, style: str) -> LinePlot:
        """What of a curve lies between the limits, cut off there, by its extremes."""
        low, high = limits
        begin = max(0, int(np.searchsorted(points.x, low, side="left")) - 1)
        end = int(np.searchsorted(points.x, high, side="right")) + 1
        steps, x, y = points.steps[begin:end], points.x[begin:end], y[begin:end]
        if not len(x):
            return LinePlot(np.empty(0), np.empty(0), HiResMode.BRAILLE, style)
        per_step = float(points.x[-1]) / float(points.steps[-1] or 1) or 1.0
        kept = keep_extremes(steps, y, bin_width((high - low) / per_step, width))
        x, y = np.asarray(x[kept], float), np.asarray(y[kept], float)
        if self.logarithmic:
            y = np.log10(y)
        edges = [edge for edge in limits if x[0] < edge < x[-1]]
        inside = (x >= low) & (x <= high)
        at = np.concatenate([x[inside], edges])
        order = np.argsort(at, kind="stable")
        values = np.concatenate([y[inside], np.interp(edges, x, y) if edges else []])
        return LinePlot(at[order], values[order], HiResMode.BRAILLE, style)

    def _marks(self, line: LinePlot, number: int, limits: tuple[float, float], width: int, style: str) -> ScatterPlot:
        """Marks along a line that tell it from the others without colour, and one at its end."""
        low, high = limits
        cell = (high - low) / width
        first = low + cell * MARK_CELLS * (number % 6 + 1) / 7
        places = np.arange(first, high, cell * MARK_CELLS)
        indices = np.unique([*np.searchsorted(line.x, places[places <= (line.x[-1:].sum())]), len(line.x) - 1])
        indices = indices[(indices >= 0) & (indices < len(line.x))]
        return ScatterPlot(line.x[indices], line.y[indices], None, MARKS[number % len(MARKS)], style)

    def _held_out(self, number: int, item: Series, limits: tuple[float, float]) -> ScatterPlot:
        points = held_out(item, self.along)
        shown = (points.x >= limits[0]) & (points.x <= limits[1]) & ((points.y > 0) | (not self.logarithmic))
        y = np.asarray(points.y[shown], float)
        many = len(self._series) > 1
        mark = HELD_OUT_MARKS[number % len(MARKS)] if many else ONE_HELD_OUT
        style = self._style(f"curve-chart--{number % 6 + 1}" if many else "curve-chart--held-out")
        return ScatterPlot(points.x[shown], np.log10(y) if self.logarithmic else y, None, mark, style)

    def _lost(self, item: Series, points: Points) -> list[float]:
        return [float(x) for x in x_of_steps(item.curve, np.array(points.missing, np.int64), self.along)]

    def _x_axis(self) -> Axis:
        if self.along is Along.TIME:
            return TimeAxis(write_time)
        return StepAxis(write_number) if self.along is Along.STEP else Axis(write_number)

    def _y_axis(self) -> Axis:
        write = write_power if self.metric is Metric.LEARNING_RATE else write_number
        return LogAxis(write) if self.logarithmic else Axis(write)

    def _style(self, component: str) -> str:
        return str(self.get_component_rich_style(component, partial=True))

    # what is said

    def _tell(self, curves: Sequence[Curve], empty: bool) -> None:
        note = self.query_one(".chart-empty", Static)
        note.display = empty
        if empty:
            note.update(self._why_empty())
        self.query_one(".chart-line", Static).update(
            self._readings(curves) if self.cursor is not None else self._title(curves)
        )

    def _why_empty(self) -> str:
        if not any(len(item.curve) for item in self._series) and self.metric is not Metric.EVAL_LOSS:
            return "no step yet"
        if self.window is not None:
            return "nothing here: 0 shows everything"
        if self.logarithmic:
            return "nothing above 0 for a logarithmic scale: o goes back"
        return EMPTY_BECAUSE.get(self.metric, f"no {self.metric.value} that is a number")

    def _title(self, curves: Sequence[Curve]) -> Content:
        said = [self.metric.value + (", GiB" if self.metric is Metric.MEMORY else "")]
        if self.logarithmic:
            said.append("log")
        if self.span > 1 and self.metric is not Metric.EVAL_LOSS:
            said.append(f"smoothed over {self.span:,}")
        if self.along is not Along.STEP:
            said.append(f"by {self.along.value}")
        parts: list[Content] = [Content(" · ".join(said))]
        for number, item in enumerate(self._series if len(self._series) > 1 else ()):
            parts.append(
                Content.assemble(
                    "  ", (MARKS[number % len(MARKS)], self._series_style(number)), " ", Content(clean_line(item.label))
                )
            )
        lost = [step for curve in curves for step in curve.points.missing]
        if lost:
            parts.append(Content.styled(f"  {LOST} {_count_lost(lost)}", "$text-error"))
        return Content("").join(parts)

    def _readings(self, curves: Sequence[Curve]) -> Content:
        assert self.cursor is not None
        parts: list[Content] = []
        for number, curve in enumerate(curves):
            points = curve.points
            if not len(points.x):
                continue
            index = _nearest(points.x, self.cursor)
            if not parts:
                parts.append(Content(self._where(int(points.steps[index]), float(points.x[index]))))
            value = self._write(float(points.y[index]))
            if curve.shown is not points.y:
                value += f" ({self._write(float(curve.shown[index]))})"
            mark = f"{MARKS[number % len(MARKS)]} " if len(curves) > 1 else ""
            parts.append(Content.assemble("  ", (mark, self._series_style(number)), value))
        return Content("").join(parts) if parts else self._title(curves)

    def _where(self, step: int, x: float) -> str:
        if self.along is Along.EPOCH:
            return f"step {step:,} · epoch {x:.2f}"
        return f"step {step:,} · {format_duration(x)}" if self.along is Along.TIME else f"step {step:,}"

    def _write(self, value: float) -> str:
        match self.metric:
            case Metric.LEARNING_RATE:
                return f"{value:.3g}"
            case Metric.TOKENS_PER_SECOND:
                return f"{value:,.0f}"
            case Metric.MEMORY:
                return f"{value:,.2f} GiB"
        return f"{value:,.4f}"

    def _series_style(self, number: int) -> str:
        return self._style(f"curve-chart--{number % 6 + 1}")

    # keys and mouse

    def action_metric(self, by: int) -> None:
        metrics = list(Metric)
        self.metric = metrics[(metrics.index(self.metric) + by) % len(metrics)]
        self._redraw()

    def action_along(self) -> None:
        ways = list(Along)
        self.along = ways[(ways.index(self.along) + 1) % len(ways)]
        self._show_all()

    def action_logarithmic(self) -> None:
        self.logarithmic = not self.logarithmic
        self._redraw()

    def action_smooth(self, by: int) -> None:
        self.smoothing = min(max(self.smoothing + by, 0), len(SMOOTHING) - 1)
        self._redraw()

    def action_cursor(self, by: int) -> None:
        """To the next value at least a cell away."""
        x = self._longest_x()
        if not len(x):
            return
        low, high = self.window or self._everything()
        cell = (high - low) / max(1, self.query_one(CurvePlot)._scale_rectangle.width)
        if self.cursor is None:
            index = int(np.searchsorted(x, high, side="right")) - 1
        else:
            index = int(np.searchsorted(x, self.cursor + by * cell, side="left" if by > 0 else "right")) - (by < 0)
        self._place_cursor(float(x[min(max(index, 0), len(x) - 1)]))

    def action_cursor_end(self, end: int) -> None:
        x = self._longest_x()
        low, high = self.window or self._everything()
        shown = x[(x >= low) & (x <= high)]
        if len(shown):
            self._place_cursor(float(shown[0 if end < 0 else -1]))

    def _longest_x(self) -> Numbers:
        every = [points_of(item, self.metric, self.along).x for item in self._series]
        return max(every, key=len, default=np.empty(0)).astype(np.float64)

    def _place_cursor(self, x: float | None) -> None:
        self.cursor = x
        plot = self.query_one(CurvePlot)
        plot.cursor = None if x is None else VLinePlot(x, self._style("curve-chart--cursor"))
        if x is not None and self.window is not None and not self.window[0] <= x <= self.window[1]:
            half = (self.window[1] - self.window[0]) / 2
            self._look_at(x - half, x + half)
        else:
            self._redraw()

    def action_zoom(self, by: int) -> None:
        low, high = self.window or self._everything()
        self._zoom(self.cursor if self.cursor is not None and low <= self.cursor <= high else (low + high) / 2, by > 0)

    def _zoom(self, x: float, closer: bool) -> None:
        low, high = self.window or self._everything()
        factor = 1 / ZOOM if closer else ZOOM
        self._look_at(x - (x - low) * factor, x + (high - x) * factor)

    def action_pan(self, by: int) -> None:
        if self.window is not None:
            low, high = self.window
            self._look_at(low + by * PAN * (high - low), high + by * PAN * (high - low))

    def _look_at(self, low: float, high: float) -> None:
        """A part of the x axis; no closer than `CLOSEST_STEPS`, and the whole as far as there is one."""
        begin, end = self._everything()
        width = max(high - low, min(end - begin, CLOSEST_STEPS * (end - begin) / self._last_step()))
        if width >= end - begin:
            self.window = None
        else:
            low = min(max(low, begin), end - width)
            self.window = low, low + width
        self._redraw()

    def _show_all(self) -> None:
        self.window = None
        self._place_cursor(None)

    def action_all(self) -> None:
        self._show_all()

    def action_full(self) -> None:
        if self.screen.maximized is self:
            self.screen.minimize()
        else:
            self.screen.maximize(self, container=False)
        self.refresh_bindings()

    def action_leave(self) -> None:
        self.screen.minimize()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape is the screen's as long as the chart does not fill it."""
        return self.screen.maximized is self if action == "leave" else True

    @on(CurvePlot.Zoomed)
    def _turn_wheel(self, event: CurvePlot.Zoomed) -> None:
        event.stop()
        self._zoom(event.x, event.closer)

    def on_click(self, event: Click) -> None:
        """The cursor to where the mouse is."""
        plot = self.query_one(CurvePlot)
        x = self._longest_x()
        if len(x):
            self._place_cursor(float(x[_nearest(x, plot.x_at(event.screen_x - plot.query_one("#plot").region.x))]))

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self._redraw)


def _nearest(x: Numbers, wanted: float) -> int:
    """The index of the value nearest to `wanted`."""
    index = int(np.searchsorted(x, wanted))
    if index and (index == len(x) or wanted - x[index - 1] <= x[index] - wanted):
        return index - 1
    return index


def _count_lost(steps: Sequence[int]) -> str:
    """`3 are no number: step 4, 5, 9`."""
    first = ", ".join(f"{step:,}" for step in steps[:3])
    return f"{len(steps):,} no number: step {first}" + (", …" if len(steps) > 3 else "")


def _limits(values: Numbers, log: bool) -> tuple[float, float]:
    """Axis limits at round numbers, so that they, and with them the whole picture, move seldom as values come in."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if log:
        low, high = math.log10(round_down(10.0**low, LOG_FACTORS)), math.log10(round_up(10.0**high, LOG_FACTORS))
        return low, max(high, low + 0.1)
    unit = round_down((high - low) / 4 or abs(high) / 4 or 0.1)
    return unit * math.floor(low / unit), unit * (math.floor(high / unit) + 1)

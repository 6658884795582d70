"""The chart of one or more runs: any metric over steps, epochs or time, with zoom and a cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.widget import Widget
from textual.widgets import Static

from engine.runs.chart_series import Metric, Numbers, Points, Series, XAxis, nearest, smooth, x_of_steps
from tui.widgets.chart.contents import COLOURS, MARKS, SMOOTHING, ChartContents, ChartView
from tui.widgets.chart.plot import CurvePlot, PlotData
from tui.widgets.chart.texts import readings, title, why_empty

__all__ = ["MARKS", "CurveChart", "Metric", "Series", "XAxis"]

ZOOM = 2.0
PAN = 0.25
CLOSEST_STEPS = 8


class CurveChart(Widget, can_focus=True):
    """Curves, and above them a line with the title or, with the cursor, the values there.

    The view belongs to the widget, and its keys change it: the metric, the x axis, smoothing, the window and the
    cursor.
    """

    DEFAULT_CSS = """
    CurveChart {
        layers: below above;
        &.-maximized { height: 1fr; }
        & > CurvePlot { layer: below; }
        & > .chart-empty { layer: above; width: 100%; height: 100%; content-align: center middle; display: none; }
        & > .chart-empty { color: $text-muted; padding: 0 4 0 11; text-align: center; }
        & > .curve-chart--1 { color: $primary-lighten-2; }
        & > .curve-chart--2 { color: $text-success; }
        & > .curve-chart--3 { color: $text-accent; }
        & > .curve-chart--4 { color: $foreground; }
        & > .curve-chart--5 { color: $text-error; }
        & > .curve-chart--6 { color: $text-secondary; }
        & > .curve-chart--held-out { color: $warning; }
        & > .curve-chart--lost { color: $error; text-style: bold; }
        & > .curve-chart--cursor { color: $foreground; text-style: dim; }
        &:focus .plot--axis { color: $primary; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"curve-chart--{number}" for number in range(1, COLOURS + 1)),
        *("curve-chart--held-out", "curve-chart--lost", "curve-chart--cursor"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric(1)", "Metric", tooltip="Chart the next metric", id="chart.metric"),
        Binding("M", "metric(-1)", "Metric", show=False, tooltip="Chart the metric before", id="chart.metric_before"),
        Binding(
            "i", "along", "X", show=False, tooltip="Chart by step, by epoch or by time of training", id="chart.along"
        ),
        Binding("o", "logarithmic", "Log", show=False, tooltip="Logarithmic scale, or linear", id="chart.log"),
        Binding("right_square_bracket", "smooth(1)", "More", show=False, tooltip="Smooth more", id="chart.smoother"),
        Binding("left_square_bracket", "smooth(-1)", "Less", show=False, tooltip="Smooth less", id="chart.rougher"),
        Binding(
            "left,h", "cursor(-1)", "Left", show=False, tooltip="Read values: move the cursor left", id="chart.left"
        ),
        Binding(
            "right,l", "cursor(1)", "Right", show=False, tooltip="Read values: move the cursor right", id="chart.right"
        ),
        Binding(
            "home,g",
            "cursor_to(-1)",
            "First",
            show=False,
            tooltip="Move the cursor to the first value",
            id="chart.first",
        ),
        Binding(
            "end,G", "cursor_to(1)", "Last", show=False, tooltip="Move the cursor to the last value", id="chart.last"
        ),
        Binding("plus,equals_sign", "zoom(1)", "In", show=False, tooltip="Zoom in, around the cursor", id="chart.in"),
        Binding("minus", "zoom(-1)", "Out", show=False, tooltip="Zoom out", id="chart.out"),
        Binding("shift+left,H", "pan(-1)", "Pan", show=False, tooltip="Move left when zoomed in", id="chart.pan_left"),
        Binding(
            "shift+right,L", "pan(1)", "Pan", show=False, tooltip="Move right when zoomed in", id="chart.pan_right"
        ),
        Binding("0", "all", "All", show=False, tooltip="Show the whole curve, without cursor", id="chart.all"),
        Binding("f", "full", "Full screen", tooltip="Show only the chart; esc goes back", id="chart.full"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.view = ChartView()
        self._series: Sequence[Series] = ()
        self._total_steps: int | None = None
        self._state: object = None
        self._x: dict[int, tuple[object, Numbers]] = {}
        self._smoothed: dict[int, tuple[object, Numbers]] = {}

    def compose(self) -> ComposeResult:
        yield CurvePlot(self._picture)
        yield Static(markup=False, classes="chart-empty")

    def show(self, series: Sequence[Series], total_steps: int | None) -> None:
        """Draw these runs if they changed since the last time; `total_steps` is their planned length.

        If none of them was shown before, zoom and cursor are reset.
        """
        state = [(item.label, id(item.curve), item.curve.revision, len(item.evaluations)) for item in series]
        if not {id(item.curve) for item in series} & {id(item.curve) for item in self._series}:
            self.view.window = self.view.cursor = None
        if (state, total_steps) != self._state:
            self._state = state, total_steps
            self._series, self._total_steps = series, total_steps
            self._redraw()

    def _shown(self) -> ChartContents:
        x = [self._x_of(*item) for item in enumerate(self._series)]
        return ChartContents(self._series, self._total_steps, self.view, x)

    def _x_of(self, number: int, series: Series) -> Numbers:
        """Return x of a run's steps, computed again only for a new or longer curve or another axis."""
        curve = series.curve
        key = id(curve), curve.revision, self.view.along
        if number not in self._x or self._x[number][0] != key:
            self._x[number] = key, x_of_steps(curve, self.view.along)
        return self._x[number][1]

    def _redraw(self) -> None:
        if self.is_mounted:
            self.query_one(CurvePlot).redraw()

    def _picture(self, width: int) -> PlotData:
        shown = self._shown()
        curves = shown.curves(lambda number, points: self._smooth(number, points, shown.span))
        picture = shown.picture(curves, width, self._style)
        empty = not any(len(item.x) for item in (*picture.lines, *picture.marks))
        note = self.query_one(".chart-empty", Static)
        note.display = empty
        if empty:
            note.update(why_empty(shown))
        x = self.view.cursor
        caption = title(shown, self._style) if x is None else readings(shown, curves, x, self._style)
        self.query_one(CurvePlot).say(caption)
        return picture

    def _smooth(self, number: int, points: Points, span: int) -> Numbers:
        """Return the smoothed values, computed again only if the curve changed: smoothing takes longer than drawing."""
        curve = self._series[number].curve
        key = id(curve), curve.revision, self.view.metric, len(points.y), span
        if number not in self._smoothed or self._smoothed[number][0] != key:
            self._smoothed[number] = key, smooth(points.y, span)
        return self._smoothed[number][1]

    def _style(self, name: str) -> str:
        return str(self.get_component_rich_style(f"curve-chart--{name}", partial=True))

    # what is shown

    def action_metric(self, by: int) -> None:
        metrics = list(Metric)
        self.view.metric = metrics[(metrics.index(self.view.metric) + by) % len(metrics)]
        self._redraw()

    def action_along(self) -> None:
        """Go to the next kind of x axis, with the same steps in view and under the cursor."""
        ways = list(XAxis)
        view = self.view
        old = self._longest_x()
        view.along = ways[(ways.index(view.along) + 1) % len(ways)]
        new = self._longest_x()

        def moved(x: float) -> float:
            return float(np.interp(x, old, new)) if len(old) else math.nan

        window = tuple(map(moved, view.window or ()))
        view.window = (window[0], window[1]) if window and all(map(math.isfinite, window)) else None
        cursor = math.nan if view.cursor is None else moved(view.cursor)
        view.cursor = cursor if math.isfinite(cursor) else None
        self._redraw()

    def _longest_x(self) -> Numbers:
        """Return x of the steps of the longest run."""
        return max((self._x_of(*item) for item in enumerate(self._series)), key=len, default=np.empty(0))

    def action_logarithmic(self) -> None:
        self.view.logarithmic = not self.view.logarithmic
        self._redraw()

    def action_smooth(self, by: int) -> None:
        self.view.smoothing = min(max(self.view.smoothing + by, 0), len(SMOOTHING) - 1)
        self._redraw()

    # the window

    def action_zoom(self, by: int) -> None:
        low, high = self._shown().window
        x = self.view.cursor
        self._zoom(x if x is not None and low <= x <= high else (low + high) / 2, by > 0)

    @on(CurvePlot.Zoomed)
    def _turn_wheel(self, event: CurvePlot.Zoomed) -> None:
        event.stop()
        self._zoom(event.x, event.closer)

    def _zoom(self, x: float, closer: bool) -> None:
        low, high = self._shown().window
        factor = 1 / ZOOM if closer else ZOOM
        self._look_at(x - (x - low) * factor, x + (high - x) * factor)

    def action_pan(self, by: int) -> None:
        if self.view.window is not None:
            low, high = self.view.window
            self._look_at(low + by * PAN * (high - low), high + by * PAN * (high - low))

    def action_all(self) -> None:
        self.view.window = None
        self._place_cursor(None)

    def _look_at(self, low: float, high: float) -> None:
        """Show a part of the x axis, at least `CLOSEST_STEPS` wide, or all of it."""
        shown = self._shown()
        begin, end = shown.everything
        width = max(high - low, CLOSEST_STEPS * (end - begin) / shown.last_step)
        low = min(max(low, begin), end - width)
        self.view.window = None if width >= end - begin else (low, low + width)
        self._redraw()

    def action_full(self) -> None:
        if self.screen.maximized is self:
            self.screen.minimize()
        else:
            self.screen.maximize(self, container=False)

    # the cursor

    def action_cursor(self, by: int) -> None:
        """Go to the next value that is at least a cell away."""
        shown = self._shown()
        x = shown.longest.x
        low, high = shown.window
        if self.view.cursor is None:
            index = int(np.searchsorted(x, high, side="right")) - 1
        else:
            target = self.view.cursor + by * (high - low) / self.query_one(CurvePlot).columns
            index = int(np.searchsorted(x, target)) if by > 0 else int(np.searchsorted(x, target, side="right")) - 1
        self._place_cursor_at(x, index)

    def action_cursor_to(self, end: int) -> None:
        """Go to the first or the last value in view."""
        shown = self._shown()
        x = shown.longest.x
        low, high = shown.window
        self._place_cursor_at(x, int(np.searchsorted(x, low) if end < 0 else np.searchsorted(x, high, "right") - 1))

    def on_click(self, event: Click) -> None:
        """Go to the value nearest to the mouse."""
        x = self._shown().longest.x
        if len(x):
            self._place_cursor_at(x, nearest(x, self.query_one(CurvePlot).x_at(event.screen_x)))

    def _place_cursor_at(self, x: Numbers, index: int) -> None:
        if len(x):
            self._place_cursor(float(x[min(max(index, 0), len(x) - 1)]))

    def _place_cursor(self, x: float | None) -> None:
        """Put the cursor at `x` and bring it into view; None removes it."""
        self.view.cursor = x
        window = self.view.window
        if x is None or window is None or window[0] <= x <= window[1]:
            self._redraw()
        else:
            half = (window[1] - window[0]) / 2
            self._look_at(x - half, x + half)

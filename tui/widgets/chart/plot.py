"""Curves, markers and axes on a plane: textual-plot's widget, drawn by arrays and repainted by cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from textual.app import ComposeResult
from textual.containers import Grid
from textual.events import MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual_plot import PlotWidget
from textual_plot.plot_widget import Legend, LinePlot, ScatterPlot, VLinePlot

from tui.widgets.chart.axes import Axis
from tui.widgets.chart.canvas import QuietCanvas

LOST = "×"
EDGE = 0.01  # of a cell: what is greatest is drawn within the frame


class Picture(NamedTuple):
    """What a plot shows.

    Attributes:
        lines, marks: in the order they are drawn.
        x_limits, y_limits: of the plane.
        lost: where on the x axis values are no numbers.
        cursor: a line across, or none.
    """

    lines: Sequence[LinePlot]
    marks: Sequence[ScatterPlot]
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    x_axis: Axis
    y_axis: Axis
    lost: Sequence[float]
    lost_style: str
    cursor: VLinePlot | None


class CurvePlot(PlotWidget, can_focus=False, inherit_bindings=False):
    """Asks for its picture whenever it is drawn; it is told how many cells wide the plane is."""

    DEFAULT_CSS = """
    CurvePlot {
        & #plot { margin-right: 2; }
        & > .plot--axis, & > .plot--tick { color: $text-muted; text-style: none; }
    }
    """

    class Zoomed(Message):
        """The wheel was turned over the plot: towards the person is out. `x` is what it was turned at."""

        def __init__(self, x: float, closer: bool) -> None:
            super().__init__()
            self.x = x
            self.closer = closer

    def __init__(self, picture: Callable[[int], Picture], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._picture = picture

    def compose(self) -> ComposeResult:
        """The parts of a PlotWidget, on canvases that repaint what changed."""
        with Grid():
            yield QuietCanvas(1, 1, id="margin-top")
            yield QuietCanvas(1, 1, id="margin-left")
            yield QuietCanvas(1, 1, id="plot")
            yield QuietCanvas(1, 1, id="margin-bottom")
        yield Legend(id="legend")

    def on_mount(self) -> None:
        self.margin_top, self.margin_bottom, self.margin_left = 0, 1, 8

    def redraw(self) -> None:
        """Draw what there is now."""
        self._rerender()

    @property
    def columns(self) -> int:
        """How many cells wide the plane is."""
        return max(1, self._scale_rectangle.width)

    def x_at(self, screen_x: float) -> float:
        """Of a place on the screen."""
        return self.get_coordinate_from_pixel(int(screen_x) - self.query_one("#plot").region.x, 1)[0]

    def _rerender(self) -> None:
        """Onto the canvases alone: `PlotWidget` repaints the whole plot at each change."""
        if self._needs_canvas_resize or not self.is_attached:
            super()._rerender()
        else:
            self._render_plot()

    def _render_plot(self) -> None:
        plane = self._scale_rectangle
        if plane.width < 1 or plane.height < 1:
            return
        picture = self._picture(plane.width)
        self._datasets = [*picture.lines, *picture.marks]
        self._v_lines = [picture.cursor] if picture.cursor is not None else []
        self._auto_x_min = self._auto_x_max = self._auto_y_min = self._auto_y_max = False
        (self._x_min, self._x_max), (self._y_min, self._y_max) = picture.x_limits, picture.y_limits
        self._x_formatter, self._y_formatter = picture.x_axis, picture.y_axis
        picture.x_axis.room, picture.y_axis.room = max(2, plane.width // 10), max(2, plane.height // 3)
        super()._render_plot()
        canvas = self.query_one("#plot", QuietCanvas)
        for x in picture.lost:
            canvas.set_pixel(self._column(x), plane.bottom, LOST, picture.lost_style)

    def _column(self, x: float) -> int:
        """Of the canvas; the greatest x belongs to the last."""
        return min(int(self.get_pixel_from_coordinate(x, self._y_min)[0]), self._scale_rectangle.right - 1)

    def _render_line_plot(self, dataset: LinePlot) -> None:
        if not len(dataset.x):
            return
        plane = self._scale_rectangle
        x = plane.x + (dataset.x - self._x_min) * plane.width / (self._x_max - self._x_min)
        y = plane.bottom - (dataset.y - self._y_min) * plane.height / (self._y_max - self._y_min)
        self.query_one("#plot", QuietCanvas).draw_curve(
            np.clip(x, plane.x, plane.right - EDGE), np.clip(y, plane.y, plane.bottom - EDGE), dataset.line_style
        )

    def _render_scatter_plot(self, dataset: ScatterPlot) -> None:
        canvas, plane = self.query_one("#plot", QuietCanvas), self._scale_rectangle
        for x, y in zip(dataset.x.tolist(), dataset.y.tolist(), strict=True):
            row = min(max(self.get_pixel_from_coordinate(x, y)[1], plane.y), plane.bottom - 1)
            canvas.set_pixel(self._column(x), int(row), dataset.marker, dataset.marker_style)

    def _zoom_with_mouse(self, event: MouseScrollDown | MouseScrollUp, factor: float) -> None:
        self.post_message(self.Zoomed(self.x_at(event.screen_x), isinstance(event, MouseScrollUp)))

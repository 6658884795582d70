"""Draw curves, marks and axes in the cells of one canvas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from msgspec import Struct
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual._box_drawing import BOX_CHARACTERS, combine_quads
from textual.content import Content
from textual.events import MouseScrollDown, MouseScrollUp, Resize
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.visual import Visual

from engine.runs.chart_series import Numbers
from tui.widgets.chart.axes import Axis
from tui.widgets.chart.canvas import BrailleCanvas

LOST = "×"
EDGE = 0.01  # cells, so that the greatest value is drawn inside the frame
LEFT, RIGHT, BOTTOM = 8, 2, 1  # cells beside the frame; the labels of the axes stand on the left and below
CAPTION_LEFT, CAPTION_LINES = 10, 3
HEAVY = 2  # the frame's line, as `textual._box_drawing` counts: top, right, bottom, left of a cell
SIDES = {character: sides for sides, character in reversed(BOX_CHARACTERS.items())}  # the first of several stays


class PlotPoints(Struct, frozen=True):
    """Points in units of the axes, to draw a line through."""

    x: Numbers
    y: Numbers
    style: str


class PlotMarks(PlotPoints, frozen=True):
    """Points to draw a character at."""

    mark: str


class PlotData(NamedTuple):
    """Everything that a plot draws.

    Attributes:
        lines, marks: in the order they are drawn.
        x_limits, y_limits: the ends of the axes.
        lost: x of the values that are not finite.
        cursor: x of a vertical line, None for no line.
    """

    lines: Sequence[PlotPoints]
    marks: Sequence[PlotMarks]
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    x_axis: Axis
    y_axis: Axis
    lost: Sequence[float]
    lost_style: str
    cursor: float | None
    cursor_style: str


class CurvePlot(BrailleCanvas):
    """A plot that asks for its data whenever it draws, by a function of the plane's width in cells."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"plot--axis", "plot--tick"}
    DEFAULT_CSS = """
    CurvePlot {
        & > .plot--axis, & > .plot--tick { color: $text-muted; }
    }
    """

    class Zoomed(Message):
        """The person turned the mouse wheel over the plot at `x`; `closer` to zoom in."""

        def __init__(self, x: float, closer: bool) -> None:
            super().__init__()
            self.x = x
            self.closer = closer

    def __init__(self, data_for: Callable[[int], PlotData], *, id: str | None = None) -> None:
        super().__init__(1, 1, id=id)
        self._data_for = data_for
        self.data: PlotData | None = None
        self.caption = Content()
        self._caption_lines: list[Strip] | None = None
        self._base_style: RichStyle | None = None

    @property
    def plane(self) -> Region:
        """The cells within the frame."""
        width, height = self._canvas_size
        return Region(LEFT + 1, 1, max(0, width - LEFT - RIGHT - 2), max(0, height - BOTTOM - 2))

    @property
    def rich_style(self) -> RichStyle:
        """The style of a cell without one; Textual computes it for each row, which takes longer than the row."""
        if self._base_style is None:
            self._base_style = super().rich_style
        return self._base_style

    @property
    def columns(self) -> int:
        """The width of the plane in cells, at least 1."""
        return max(1, self.plane.width)

    def on_resize(self, event: Resize) -> None:
        self._caption_lines = None
        self.reset(self.size)
        self.redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._caption_lines = self._base_style = None
        self.redraw()
        self.refresh()

    def redraw(self) -> None:
        """Draw the data as it is now."""
        if not self.is_attached or not self.plane:
            return
        data = self.data = self._data_for(self.plane.width)
        self._base_style = None
        with self.repaint_changes():
            for line in data.lines:
                self._draw_line(data, line)
            for marks in data.marks:
                self._draw_marks(data, marks)
            self._draw_axes(data)
            for x in data.lost:
                self.set_pixel(self._mark_column(data, x), self.plane.bottom, LOST, data.lost_style)

    def say(self, caption: Content) -> None:
        """Write `caption` over the upper edge of the frame, on as many lines as it needs, but at most `CAPTION_LINES`.

        A widget of its own, as wide as its text, would be laid out with the whole screen at each key.
        """
        if not caption.is_same(self.caption):
            self.caption = caption
            lines = len(self._captions())
            self._caption_lines = None
            self.refresh(Region(0, 0, self.size.width, max(lines, len(self._captions()))))

    def _captions(self) -> list[Strip]:
        """Return the lines of the caption, each with a space before and after it."""
        if self._caption_lines is None:
            room = self.size.width - CAPTION_LEFT - 2
            style = self.visual_style
            width = min(self.caption.cell_length, room)
            lines = Visual.to_strips(self, self.caption, width, CAPTION_LINES, style, pad=True) if width > 0 else []
            space = Strip([Segment(" ", style.background_style.rich_style)])
            self._caption_lines = [Strip.join([space, line, space]) for line in lines]
        return self._caption_lines

    def render_line(self, y: int) -> Strip:
        """Render a row; only labels reach into the margin on the right."""
        strip = super().render_line(y)
        if y <= self.plane.bottom:
            strip = strip.crop(0, self.plane.right + 1)
        if y >= len(captions := self._captions()):
            return strip
        rest = strip.crop(CAPTION_LEFT + captions[y].cell_length)
        return Strip.join([strip.crop(0, CAPTION_LEFT), captions[y], rest])

    def x_at(self, screen_x: float) -> float:
        """Return the x of a column of the screen."""
        low, high = self.data.x_limits if self.data is not None else (0.0, 1.0)
        return low + (int(screen_x) - self.region.x + 0.5 - self.plane.x) * (high - low) / self.columns

    def _column(self, data: PlotData, x: float) -> int:
        """Return the column of `x`; the end of the axis is on the frame."""
        low, high = data.x_limits
        return math.floor(self.plane.x + (x - low) * self.plane.width / (high - low))

    def _row(self, data: PlotData, y: float) -> int:
        """Return the row of `y`; the upper end of the axis is on the frame."""
        low, high = data.y_limits
        return math.ceil(self.plane.bottom - 1 - (y - low) * self.plane.height / (high - low))

    def _draw_line(self, data: PlotData, line: PlotPoints) -> None:
        if not len(line.x):
            return
        plane, (first, last), (low, high) = self.plane, data.x_limits, data.y_limits
        x = plane.x + (line.x - first) * plane.width / (last - first)
        y = plane.bottom - (line.y - low) * plane.height / (high - low)
        x, y = np.clip(x, plane.x, plane.right - EDGE), np.clip(y, plane.y, plane.bottom - EDGE)
        self.draw_curve(x, y, line.style)

    def _mark_column(self, data: PlotData, x: float) -> int:
        return min(self._column(data, x), self.plane.right - 1)

    def _draw_marks(self, data: PlotData, marks: PlotMarks) -> None:
        for x, y in zip(marks.x.tolist(), marks.y.tolist(), strict=True):
            row = min(max(self._row(data, y), self.plane.y), self.plane.bottom - 1)
            self.set_pixel(self._mark_column(data, x), row, marks.mark, marks.style)

    def _draw_axes(self, data: PlotData) -> None:
        plane, axis = self.plane, str(self.get_component_rich_style("plot--axis"))
        top, side = plane.y - 1, plane.x - 1
        self.draw_rectangle_box(side, top, plane.right, plane.bottom, HEAVY, axis)
        if data.cursor is not None:
            x = self._column(data, data.cursor)
            self.draw_line(x, plane.y, x, plane.bottom - 1, "│", data.cursor_style)
            self.set_pixel(x, top, "┳", axis)
            self.set_pixel(x, plane.bottom, "┻", axis)
        tick_style = str(self.get_component_rich_style("plot--tick"))
        low, high = data.x_limits
        for tick, label in data.x_axis.labelled_ticks(low, high, max(2, plane.width // 10)):
            x = side if tick == low else self._column(data, tick)
            self._extend_line(x, top, (HEAVY, 0, 0, 0), axis)
            self._extend_line(x, plane.bottom, (0, 0, HEAVY, 0), axis)
            before = len(label) - 1 if tick == high else (len(label) - 1) // 2
            self._write(x - before, plane.bottom + 1, label, tick_style)
        low, high = data.y_limits
        for tick, label in data.y_axis.labelled_ticks(low, high, max(2, plane.height // 3)):
            y = plane.bottom if tick == low else self._row(data, tick)
            self._extend_line(side, y, (0, 0, 0, HEAVY), axis)
            self._extend_line(plane.right, y, (0, HEAVY, 0, 0), axis)
            self._write(LEFT - 1 - len(label[: LEFT - 1]), y, label[: LEFT - 1], tick_style)

    def _write(self, x: int, y: int, label: str, style: str) -> None:
        """Write a label from a cell on; `write_text` would read it as markup."""
        for column, character in enumerate(label, x):
            self.set_pixel(column, y, character, style)

    def _extend_line(self, x: int, y: int, sides: tuple[int, int, int, int], style: str) -> None:
        """Add lines towards some sides of a cell to the lines that it has."""
        combined = combine_quads(SIDES[self.get_pixel(x, y)[0]], sides)
        self.set_pixel(x, y, BOX_CHARACTERS[combined], style)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.post_message(self.Zoomed(self.x_at(event.screen_x), closer=True))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.post_message(self.Zoomed(self.x_at(event.screen_x), closer=False))

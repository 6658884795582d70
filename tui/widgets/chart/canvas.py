"""A canvas that repaints the cells that changed and no others, for terminals at the end of a slow line."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual_hires_canvas import Canvas

Row = tuple[tuple[str, ...], tuple[str, ...]]

DOTS_ACROSS, DOTS_DOWN = 2, 4
BRAILLE = 0x2800  # Unicode 8.6: the bits of a pattern are its dots 1 to 8
DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)


class QuietCanvas(Canvas):
    """Compares what was drawn with what is on the screen; a redraw of the same picture costs nothing."""

    def on_mount(self) -> None:
        self._painted: list[Row] = []
        self._comparing = False
        self._own_style: Style | None = None

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """As `Canvas.refresh`; a plain one is put off until the drawing is done, and then told what changed."""
        self._own_style = None
        if regions or layout or recompose or not repaint or not hasattr(self, "_painted"):
            return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        if not self._comparing:
            self._comparing = True
            self.call_next(self._repaint_changes)
        return self

    def notify_style_update(self) -> None:
        """As `Canvas.notify_style_update`: another theme paints other cells, though the characters stay."""
        super().notify_style_update()
        self._own_style = None
        self._painted = []

    def render_line(self, y: int) -> Strip:
        """As `Canvas.render_line`, which asks for the widget's own style anew for each line."""
        if y >= len(self._buffer):
            return Strip.blank(0)
        if self._own_style is None:
            self._own_style = self.rich_style
        characters, segments, start = "".join(self._buffer[y]), [], 0
        for style, cells in groupby(self._styles[y]):
            end = start + sum(1 for _ in cells)
            segments.append(Segment(characters[start:end], _combined(self._own_style, style)))
            start = end
        return Strip(segments, len(characters))

    def draw_curve(self, x: NDArray[np.float64], y: NDArray[np.float64], style: str) -> None:
        """A line through points given in cells, in Braille dots; as `draw_hires_lines`, but by arrays.

        Points outside the canvas are not drawn, and should not be far from it.
        """
        height, width = len(self._buffer), len(self._buffer[0])
        columns, rows = _dots_between(np.floor(x * DOTS_ACROSS), np.floor(y * DOTS_DOWN))
        inside = (columns >= 0) & (columns < width * DOTS_ACROSS) & (rows >= 0) & (rows < height * DOTS_DOWN)
        dots = np.zeros((height * DOTS_DOWN, width * DOTS_ACROSS), bool)
        dots[rows[inside], columns[inside]] = True
        cells = dots.reshape(height, DOTS_DOWN, width, DOTS_ACROSS).transpose(0, 2, 1, 3)
        patterns = (cells * DOT_BITS).sum(axis=(2, 3))
        down, across = np.nonzero(patterns)
        for row, column, pattern in zip(down.tolist(), across.tolist(), patterns[down, across].tolist(), strict=True):
            self._buffer[row][column] = chr(BRAILLE + pattern)
            self._styles[row][column] = style
        self.refresh()

    def _repaint_changes(self) -> None:
        self._comparing = False
        rows: list[Row] = [
            (tuple(characters), tuple(styles)) for characters, styles in zip(self._buffer, self._styles, strict=True)
        ]
        before, self._painted = self._painted, rows
        if len(before) != len(rows) or any(len(old[0]) != len(new[0]) for old, new in zip(before, rows, strict=True)):
            super().refresh()
        elif changes := [
            region
            for y, (old, new) in enumerate(zip(before, rows, strict=True))
            if (region := _changed_span(old, new, y)) is not None
        ]:
            super().refresh(*changes)


@lru_cache(maxsize=256)
def _combined(own: Style, style: str) -> Style:
    return own + Style.parse(style) if style else own


def _dots_between(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The dots of the lines from each point to the next, in steps along the longer side."""
    if len(x) < 2:
        return x.astype(np.intp), y.astype(np.intp)
    across, down = np.diff(x), np.diff(y)
    lengths = np.maximum(np.maximum(abs(across), abs(down)), 1).astype(np.intp)
    line = np.repeat(np.arange(len(lengths)), lengths)
    begins = np.cumsum(lengths) - lengths
    share = (np.arange(len(line)) - begins[line]) / lengths[line]
    columns = np.append(np.rint(x[line] + share * across[line]), x[-1])
    rows = np.append(np.rint(y[line] + share * down[line]), y[-1])
    return columns.astype(np.intp), rows.astype(np.intp)


def _changed_span(old: Row, new: Row, y: int) -> Region | None:
    """The cells of row `y` from the first that differs to the last; None if none does."""
    if old == new:
        return None
    differing = [
        x for x, cells in enumerate(zip(*old, *new, strict=True)) if cells[0] != cells[2] or cells[1] != cells[3]
    ]
    return Region(differing[0], y, differing[-1] - differing[0] + 1, 1)

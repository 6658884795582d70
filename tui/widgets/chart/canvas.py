"""A canvas that draws curves in Braille dots by arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from textual.geometry import Region
from textual_hires_canvas import Canvas

DOTS_ACROSS, DOTS_DOWN = 2, 4
BRAILLE = 0x2800  # Unicode 8.6: the bits of a pattern are its dots 1 to 8
DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)


class BrailleCanvas(Canvas):
    """Draw a curve of thousands of points within a frame."""

    @contextmanager
    def repaint_changes(self) -> Iterator[None]:
        """Repaint only the rows that a drawing from the beginning has changed.

        One more point changes few of them, and to paint a row takes as long as to draw it.
        """
        before = list(zip(self._buffer, self._styles, strict=True))
        self._refreshes_pending += 1  # as in `batch_refresh`, which repaints every row
        try:
            self.reset()
            yield
        finally:
            self._refreshes_pending -= 1
        rows = list(zip(self._buffer, self._styles, strict=True))
        changed = [y for y, row in enumerate(rows) if y >= len(before) or row != before[y]]
        if changed:
            self.refresh(*(Region(0, y, len(rows[y][0]), 1) for y in changed))

    def draw_curve(self, x: NDArray[np.float64], y: NDArray[np.float64], style: str) -> None:
        """Draw a line through points given in cells; like `draw_hires_lines`, but by arrays.

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


def _dots_between(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the dots of the lines from each point to the next, one for each dot of the longer side."""
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

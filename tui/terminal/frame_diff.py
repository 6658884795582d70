"""Write to the terminal only the cells that differ from what it shows.

Textual writes whole lines of each widget that it draws again, which takes long over a slow connection. A clock, or one
more point in a chart, changes only a few cells. So each frame is compared with the one before, cell by cell, and only
the differences are written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from rich.cells import split_graphemes
from rich.color import ColorSystem
from rich.segment import Segment
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.strip import Strip

from tui.terminal.sgr import PLAIN, Pen, change, pen_of

NEAR = 4  # writing this many cells again is no longer than moving the cursor over them


class ScreenCell(NamedTuple):
    """One cell: a character with its combining characters, and its pen. The right half of a wide one has ""."""

    text: str
    pen: Pen


Row = list[ScreenCell | None]  # None for an unknown cell


class FrameDiff:
    """The cells that a terminal shows, as far as this object wrote them."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    @property
    def knows_nothing(self) -> bool:
        """Return True if the whole screen must be painted."""
        return not self._rows

    def forget(self) -> None:
        """Assume that the terminal shows anything: write the next frame whole."""
        self._rows = []

    def paint(self, update: LayoutUpdate | ChopsUpdate, colours: ColorSystem) -> str:
        """Return what to write so that the terminal shows `update`; "" if it does already.

        It works from any cursor position; it starts and ends with the plain pen.
        """
        stroke = _FrameWriter()
        for x, y, strip in _pieces(update):
            cells = [cell for segment in strip for cell in _cells_of(segment, colours)]
            row = self._row(y, x + len(cells))
            before = row[x : x + len(cells)]
            if cells == before:
                continue
            row[x : x + len(cells)] = cells
            _forget_halves(row, x, x + len(cells))
            for offset, (old, new) in enumerate(zip(before, cells, strict=True)):
                if old is not new and old != new:
                    stroke.write(row, x + offset, y)
        return stroke.end()

    def _row(self, y: int, length: int) -> Row:
        while len(self._rows) <= y:
            self._rows.append([])
        row = self._rows[y]
        row.extend([None] * (length - len(row)))
        return row


class _FrameWriter:
    """The output of one frame: the text so far, the cursor position and the pen after it."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._y = self._x = -1
        self._certain = True  # unless terminals disagree on the width of what was written last
        self._pen = PLAIN

    def write(self, row: Row, x: int, y: int) -> None:
        """Write the cell at `x` of a row, unless already written; cells come from left to right."""
        if y == self._y and x < self._x:
            return
        cell = row[x]
        if cell is not None and not cell.text and x > 0 and row[x - 1] is not None:
            x -= 1
            cell = row[x]
        if cell is None:
            return
        self._go(row, x, y)
        self._written += change(self._pen, cell.pen), cell.text
        self._pen = cell.pen
        width, self._certain = _width_of(cell.text)
        self._x = x + width

    def _go(self, row: Row, x: int, y: int) -> None:
        if y != self._y:
            self._written.append(f"\x1b[{y + 1};{x + 1}H")
            self._y = y
        elif not self._certain:
            self._written.append(f"\x1b[{x + 1}G")
        elif (gap := row[self._x : x]) and len(gap) <= NEAR and all(map(self._continues, gap)):
            self._written += [cell.text for cell in gap if cell]
        elif gap:
            self._written.append(f"\x1b[{len(gap)}C")

    def _continues(self, cell: ScreenCell | None) -> bool:
        return cell is not None and cell.pen == self._pen and cell.text.isascii() and bool(cell.text)

    def end(self) -> str:
        """Return the output of the frame."""
        self._written.append(change(self._pen, PLAIN))
        return "".join(self._written)


def _pieces(update: LayoutUpdate | ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Yield (x, y, strip) for an update, line by line from left to right, as its own `render_segments` does."""
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in strips:
                yield x, y, strip
                x += strip.cell_length
        return
    for y, first, last in update.spans:
        for end, (x, chop) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if chop is not None and x < last and end > first:
                yield x, y, chop if end <= last else chop.crop(0, last - x)


@lru_cache(maxsize=2048)
def _cells_of(segment: Segment, colours: ColorSystem) -> tuple[ScreenCell, ...]:
    pen = pen_of(segment.style, colours)
    if segment.text.isascii():
        return tuple(_cell(character, pen) for character in segment.text)
    cells: list[ScreenCell] = []
    for start, end, width in split_graphemes(segment.text)[0]:
        text = segment.text[start:end]
        if width:
            cells += [_cell(text, pen), *[_cell("", pen)] * (width - 1)]
        elif cells:
            cells[-1] = _cell(cells[-1].text + text, pen)
    return tuple(cells)


@lru_cache(maxsize=8192)
def _cell(text: str, pen: Pen) -> ScreenCell:
    """Return the same object for the same cell, which makes comparing cheap."""
    return ScreenCell(text, pen.on_blank() if text == " " else pen)


@lru_cache(maxsize=1024)
def _width_of(text: str) -> tuple[int, bool]:
    """Return the width of a text in cells, and True if all terminals agree on it (not for emoji and combining text)."""
    width = sum(width for _, _, width in split_graphemes(text)[0])
    return width, len(text) == 1 and (width == 1 or unicodedata.category(text) == "Lo")


def _forget_halves(row: Row, start: int, end: int) -> None:
    """Forget half a wide character whose other half was overwritten from `start` to `end`: terminals erase it."""
    if (
        start > 0
        and (before := row[start - 1]) is not None
        and _width_of(before.text)[0] == 2
        and not _is_half(row[start])
    ):
        row[start - 1] = None
    if end < len(row) and _is_half(row[end]) and ((last := row[end - 1]) is None or _width_of(last.text)[0] != 2):
        row[end] = None


def _is_half(cell: ScreenCell | None) -> bool:
    return cell is not None and not cell.text

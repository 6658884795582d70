"""Columns, cells and lines of a table."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct
from rich.cells import cell_len, set_cell_size

GAP = 2  # cells between two columns
MIN_FILL = 12
MIN_SHRUNK = 10
WIDEST = 24


class Cell(NamedTuple):
    """A text and a style in Textual's words, such as `bold $text-error`, or "" for the row's own."""

    text: str
    style: str = ""


class TableColumn(Struct, frozen=True):
    """A column: what its header says, how it is aligned, and how wide it may get.

    A column with `fills` takes the rest of the width; one with `shrinks` gives way if there is not enough. One with
    `right` holds numbers, which are never cut.
    """

    key: str
    title: str
    right: bool = False
    fills: bool = False
    shrinks: bool = False
    widest: int = WIDEST


class Line(NamedTuple):
    """All that decides how a row looks."""

    style: str
    gutter: str
    cells: tuple[Cell, ...]


def fit(text: str, width: int, right: bool = False) -> str:
    """Return `text` in exactly `width` cells, with an ellipsis if it was cut."""
    length = cell_len(text)
    if length > width:
        text = set_cell_size(text, width - 1).rstrip() + "…"
        length = cell_len(text)
    pad = " " * (width - length)
    return pad + text if right else text + pad

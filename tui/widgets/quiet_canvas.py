"""A canvas that repaints the cells that changed and no others, for terminals at the end of a slow line."""

from __future__ import annotations

from typing import Self

from textual.geometry import Region
from textual_hires_canvas import Canvas

Row = tuple[tuple[str, ...], tuple[str, ...]]


class QuietCanvas(Canvas):
    """Compares what was drawn with what is on the screen; a redraw of the same picture costs nothing."""

    def on_mount(self) -> None:
        self._painted: list[Row] = []
        self._comparing = False

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """As `Canvas.refresh`; a plain one is put off until the drawing is done, and then told what changed."""
        if regions or layout or recompose or not repaint or not hasattr(self, "_painted"):
            return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        if not self._comparing:
            self._comparing = True
            self.call_next(self._repaint_changes)
        return self

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


def _changed_span(old: Row, new: Row, y: int) -> Region | None:
    """The cells of row `y` from the first that differs to the last; None if none does."""
    if old == new:
        return None
    differing = [
        x for x, cells in enumerate(zip(*old, *new, strict=True)) if cells[0] != cells[2] or cells[1] != cells[3]
    ]
    return Region(differing[0], y, differing[-1] - differing[0] + 1, 1)

"""Render only what may have changed on the screen, before `frame_diff` looks at its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip


class ChangesCompositor(Compositor):
    """A compositor that asks a widget only for lines that are painted.

    Textual's asks every widget for all of its lines whose container reaches into the rectangle around the changes. On
    the screen of a run, whose panes fill the screen, these are all widgets at each key.
    """

    def _render_chops(self, crop: Region, is_rendered_line: Callable[[int], bool]) -> Sequence[Mapping[int, Strip]]:
        self._is_rendered_line = is_rendered_line
        return super()._render_chops(crop, is_rendered_line)

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        """Yield the place of each widget, the part of it that is rendered, and the lines of that part."""
        if crop is None:
            yield from super()._get_renders()
            return
        for widget, (region, clip) in self.visible_widgets.items():
            part = region.intersection(clip)
            if crop.overlaps(part):
                part = part.intersection(Region(part.x, crop.y, part.width, crop.height))
                if any(map(self._is_rendered_line, part.line_range)):
                    yield region, part, widget.render_lines(part.translate(-region.offset))

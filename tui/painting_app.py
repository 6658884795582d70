"""An app that writes to the terminal only the cells that changed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.color import ColorSystem
from rich.console import RenderableType
from rich.control import Control
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.filter import LineFilter
from textual.screen import Screen

from tui.configured_app import ConfiguredApp
from tui.settings.config import Config
from tui.terminal.driver import TerminalDriver
from tui.terminal.filters import PlainLines
from tui.terminal.frame_diff import FrameDiff


class PaintingApp(ConfiguredApp):
    """An app that knows what the terminal shows, and writes what differs from it."""

    def __init__(self, settings: Config | None = None) -> None:
        super().__init__(settings)
        self._plain_lines = PlainLines()
        self._frame_diff = FrameDiff()

    def action_repaint(self) -> None:
        """Write the whole screen again, whatever the terminal shows now."""
        self._frame_diff.forget()
        self.refresh(layout=True)

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        """Write to the terminal only the cells of a frame that differ; overrides Textual's hook."""
        driver = self._driver
        if (
            not isinstance(renderable, LayoutUpdate | ChopsUpdate)
            or self._batch_count
            or self._closed
            or not self._running
            or driver is None
            or driver.is_headless
            or driver.is_inline
        ):
            super()._display(screen, renderable)
            return
        compositor = screen._compositor
        if isinstance(driver, TerminalDriver) and driver.terminal_size != compositor.size:
            # The terminal would put cells beyond its edges somewhere else; a resize event will follow.
            self._frame_diff.forget()
            self.post_display_hook()
            return
        if self._frame_diff.knows_nothing:
            renderable = compositor.render_full_update()
        written = self._frame_diff.paint(renderable, self.console._color_system or ColorSystem.TRUECOLOR)
        cursor = self.screen.outer_size.clamp_offset(self.cursor_position)
        if written or cursor != self._previous_cursor_position:
            self._previous_cursor_position = cursor
            self._begin_update()
            driver.write(written + Control.move_to(*cursor).segment.text)
            self._end_update()
            driver.flush()
        self.post_display_hook()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return Textual's filters of every line shown, and ours."""
        return [*super().get_line_filters(), self._plain_lines]

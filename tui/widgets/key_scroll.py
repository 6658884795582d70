"""Scrolling by keys that come faster than the screen is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.actions import SkipAction

if TYPE_CHECKING:
    from textual.widget import Widget as Scrollable
else:  # a widget takes its styles and keys from the first of its bases that is a widget
    Scrollable = object


class KeyScroll(Scrollable):
    """Scroll once for each key, at once.

    Textual scrolls after the next refresh to where a key leads from the old place, so that of the keys in between only
    one counts, such as those that a slow connection delivers together.
    """

    def action_scroll_down(self) -> None:
        self._scroll_rows(1)

    def action_scroll_up(self) -> None:
        self._scroll_rows(-1)

    def action_scroll_home(self) -> None:
        self.scroll_home(animate=False, immediate=True)

    def action_scroll_end(self) -> None:
        self.scroll_end(animate=False, immediate=True)

    def action_page_down(self) -> None:
        self._scroll_rows(self.scrollable_content_region.height)

    def action_page_up(self) -> None:
        self._scroll_rows(-self.scrollable_content_region.height)

    def action_scroll_right(self) -> None:
        self._scroll_columns(1)

    def action_scroll_left(self) -> None:
        self._scroll_columns(-1)

    def _scroll_rows(self, rows: int) -> None:
        if not self.allow_vertical_scroll:
            raise SkipAction
        self.scroll_to(y=self.scroll_target_y + rows, animate=False, immediate=True)

    def _scroll_columns(self, columns: int) -> None:
        if not self.allow_horizontal_scroll:
            raise SkipAction
        self.scroll_to(x=self.scroll_target_x + columns, animate=False, immediate=True)

"""The lines of the engine's text log: followed, wrapped, searched."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.terminal.ansi_log import TerminalLines
from tui.widgets.key_scroll import KeyScroll
from tui.widgets.scroll_text import scroll_bindings

MAX_MATCHES = 10_000
FOUND, FOUND_HERE = Style(underline=True, bold=True), Style(reverse=True, bold=True)

Span = tuple[int, int, int]  # a line by its index, its characters from and to


class LogView(KeyScroll, ScrollView, can_focus=True, inherit_bindings=False):
    """The lines of the log that are in view.

    Attributes:
        following: whether it scrolls to new lines as they come.
        wrapping: whether a long line continues in the next row; otherwise one scrolls sideways.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *scroll_bindings("log", "To the first line", "To the last line, and follow it"),
        Binding("h,left", "scroll_left", "Left", show=False, tooltip="Scroll left in long lines", id="log.left"),
        Binding("l,right", "scroll_right", "Right", show=False, tooltip="Scroll right in long lines", id="log.right"),
    ]

    # Textual's own lays the whole screen out again at each new line, this one only where a scrollbar comes or goes.
    virtual_size = reactive(Size(0, 0), repaint=False)

    class Changed(Message):
        """Following, wrapping or the matches of the search changed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log = TerminalLines()
        self._rows: list[Span] = []  # the text on each row
        self._first_row: list[int] = []  # of each line
        self._widest = 0
        self._pattern: re.Pattern[str] | None = None
        self._matches: list[Span] = []
        self._match = -1
        self.following = True
        self.wrapping = False

    @property
    def lines(self) -> list[str]:
        """The lines, without an empty last one."""
        lines = self._log.lines
        return lines if lines[-1] else lines[:-1]

    def clear(self) -> None:
        """Start with an empty log, for another round; the search stays."""
        self._log = TerminalLines()
        self._matches, self._match = [], -1
        self.following = True
        self._lay_out(0)
        self.post_message(self.Changed())

    def feed(self, text: str) -> None:
        """Append text as the engine wrote it."""
        if not text:
            return
        if not self.lines:
            self.call_next(self.post_message, self.Changed())  # it is not empty any more
        dropped = self._log.dropped
        first = self._log.feed(text)
        if newly_dropped := self._log.dropped - dropped:
            rows_dropped = self._first_row[newly_dropped] if newly_dropped < len(self._first_row) else 0
            self._forget_matches(newly_dropped)
            self._lay_out(0)
            if not self.following:
                self.scroll_to(y=max(0, self.scroll_offset.y - rows_dropped), animate=False, immediate=True, force=True)
        else:
            self._lay_out(first)
        self._find_from(first)

    def wrap(self) -> None:
        """Start or stop wrapping long lines; the line on top stays on top."""
        top = self._rows[self.scroll_offset.y][0] if self.scroll_offset.y < len(self._rows) else 0
        self.wrapping = not self.wrapping
        self._lay_out(0)
        if not self.following and top < len(self._first_row):
            self.scroll_to(x=0, y=self._first_row[top], animate=False, immediate=True, force=True)
        self.post_message(self.Changed())

    def follow(self) -> None:
        """Go to the end and follow it, or stop following."""
        self.following = not self.following
        if self.following:
            self._go_to_end()
        self.post_message(self.Changed())

    def search(self, text: str) -> None:
        """Mark every place with `text`, in any case, and go to the last; "" marks nothing."""
        self._pattern = re.compile(re.escape(text), re.IGNORECASE) if text else None
        self._matches, self._match = [], -1
        self._find_from(0)
        if self._matches:
            self._show_match(len(self._matches) - 1)
        self.refresh()
        self.post_message(self.Changed())

    def next_match(self, by: int) -> None:
        """Go `by` matches on, or back if negative; after the last comes the first."""
        if self._matches:
            self._show_match((self._match + by) % len(self._matches))
            self.post_message(self.Changed())

    @property
    def match_position(self) -> str:
        """The place among the matches, such as `3 of 17`; "" without a search."""
        if self._pattern is None:
            return ""
        if not self._matches:
            return "not found"
        many = "+" if len(self._matches) >= MAX_MATCHES else ""
        return f"{self._match + 1:,} of {len(self._matches):,}{many}"

    def _show_match(self, index: int) -> None:
        self._match = index
        line, start, _ = self._matches[index]
        row = self._row_of(line, start)
        x = 0 if self.wrapping else max(0, cell_len(self._log.lines[line][:start]) - self.size.width // 2)
        height = self.size.height
        if not self.scroll_offset.y <= row < self.scroll_offset.y + height:
            self.scroll_to(y=max(0, row - height // 2), animate=False, immediate=True, force=True)
        self.scroll_to(x=x, animate=False, immediate=True, force=True)
        self.following = self.scroll_offset.y >= self.max_scroll_y
        self.refresh()

    def _row_of(self, line: int, character: int) -> int:
        row = self._first_row[line]
        while row + 1 < len(self._rows) and self._rows[row + 1][0] == line and self._rows[row + 1][1] <= character:
            row += 1
        return row

    def _forget_matches(self, dropped: int) -> None:
        first_kept = bisect_left(self._matches, (dropped, 0, 0))
        self._matches = [(line - dropped, start, end) for line, start, end in self._matches[first_kept:]]
        self._match = max(-1, self._match - first_kept)

    def _find_from(self, first: int) -> None:
        """Search the lines from `first` on, which changed."""
        if self._pattern is None:
            return
        before = self.match_position
        del self._matches[bisect_left(self._matches, (first, 0, 0)) :]
        for line in range(first, len(self._log.lines)):
            if len(self._matches) >= MAX_MATCHES:
                break
            self._matches += [(line, *match.span()) for match in self._pattern.finditer(self._log.lines[line])]
        self._match = min(self._match, len(self._matches) - 1)
        if self.match_position != before:
            self.post_message(self.Changed())

    def _lay_out(self, first: int) -> None:
        """Compute again the text on each row, from line `first` on."""
        row = self._first_row[first] if first < len(self._first_row) else len(self._rows)
        del self._rows[row:], self._first_row[first:]
        if not first:
            self._widest = 0
        lines = self._log.lines
        width = max(1, self.scrollable_content_region.width)  # without the scrollbar, whose place is kept free
        for index in range(first, len(lines)):
            line = lines[index]
            self._first_row.append(len(self._rows))
            if not line and index + 1 == len(lines):
                break  # the next text starts here
            if self.wrapping:
                start = 0
                for piece in chop_cells(line, width) or [""]:
                    self._rows.append((index, start, start + len(piece)))
                    start += len(piece)
            else:
                self._rows.append((index, 0, len(line)))
                self._widest = max(self._widest, len(line) if line.isascii() else cell_len(line))
        self.virtual_size = Size(width if self.wrapping else self._widest, len(self._rows))
        if self.following:
            self._go_to_end()
        if row < self.scroll_offset.y + self.size.height:
            self.refresh()

    def _go_to_end(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True, force=True)

    def on_resize(self, event: Resize) -> None:
        self._lay_out(0)

    def watch_virtual_size(self, size: Size) -> None:
        """Fit the scrollbars to the lines."""
        self._scroll_update(size)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Stop following when the person scrolls away from the end, and follow again at the end."""
        super().watch_scroll_y(old_value, new_value)
        following = round(new_value) >= self.max_scroll_y
        if following != self.following:
            self.following = following
            self.post_message(self.Changed())

    def render_line(self, y: int) -> Strip:
        x, top = self.scroll_offset
        style = self.rich_style
        if top + y >= len(self._rows):
            return Strip.blank(self.size.width, style)
        line, start, end = self._rows[top + y]
        text = self._log.lines[line][start:end]
        cuts = [(0, style)]
        index = bisect_left(self._matches, (line, 0, 0))
        while index < len(self._matches) and self._matches[index][0] == line:
            _, begin, stop = self._matches[index]
            if begin < end and stop > start:
                mark = FOUND_HERE if index == self._match else FOUND
                cuts += [(max(begin, start) - start, style + mark), (min(stop, end) - start, style)]
            index += 1
        segments = [
            Segment(text[at : cuts[number + 1][0] if number + 1 < len(cuts) else len(text)], look)
            for number, (at, look) in enumerate(cuts)
        ]
        strip = Strip(segments).crop(x, x + self.size.width)
        return strip.extend_cell_length(self.size.width, style).apply_offsets(x, top + y)

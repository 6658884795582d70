"""The messages and answers of a chat, to scroll through; the view stays at the end while answers grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.events import Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.chat.conversation import Chat, Exchange
from tui.screens.chat.transcript_rows import Frame, Row, exchange_rows
from tui.widgets.key_scroll import KeyScroll

INVITATION = "No messages yet. Type one below and press enter."
FramedExchange = tuple[Exchange, Frame]


class Transcript(KeyScroll, ScrollView, can_focus=False):
    """Draws only the visible rows, and lays out only what changed: while an answer grows, the last exchange."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--message", "transcript--speaker", "transcript--figures", "transcript--refusal", "transcript--rule",
    }  # fmt: skip
    DEFAULT_CSS = """
    Transcript {
        height: 1fr; min-height: 3; padding: 0 1; background: $background; scrollbar-size: 0 1;
        overflow-x: hidden; scrollbar-gutter: stable;
        & .transcript--message { color: $text-accent; text-style: bold; }
        & .transcript--speaker { color: $text-primary; text-style: bold; }
        & .transcript--figures { color: $text-muted; }
        & .transcript--refusal { color: $text-error; text-style: bold; }
        & .transcript--rule { color: $text-muted; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._conversation: Chat | None = None
        self._positions: int | None = None
        self._waiting: tuple[str, ...] = ()
        self._growing: Mapping[str, str] = {}
        self._laid_out: list[FramedExchange] = []
        self._first_row: list[int] = []  # of each exchange
        self._rows: list[Row] = []
        self.following = True

    def show(
        self,
        conversation: Chat,
        positions: int | None,
        waiting: tuple[str, ...] = (),
        growing: Mapping[str, str] | None = None,
    ) -> None:
        """Show a chat; `waiting` and `growing` belong to its last exchange, as in `Frame`."""
        self._conversation, self._positions = conversation, positions
        self._waiting, self._growing = waiting, dict(growing or {})
        self._lay_out()

    def to_end(self) -> None:
        """Scroll to the last line, and follow the end while answers grow."""
        self.following = True
        self._go_to_end()

    def _lay_out(self) -> None:
        """Make the rows of the first exchange that changed and of all below it again."""
        conversation = self._conversation
        width = self.scrollable_content_region.width  # without the scrollbar, whose column stays free
        if conversation is None or not width:
            return
        frame = Frame(width, conversation.speakers, self._positions)
        exchanges = conversation.exchanges
        frames = [(exchange, frame) for exchange in exchanges]
        if exchanges and (self._waiting or self._growing):
            frames[-1] = (exchanges[-1], frame._replace(waiting=self._waiting, growing=self._growing))
        same = 0
        while same < min(len(frames), len(self._laid_out)) and _alike(frames[same], self._laid_out[same]):
            same += 1
        start = self._first_row[same] if same < len(self._first_row) else len(self._rows)
        if not self._laid_out:
            start = 0  # only the invitation was there
        del self._rows[start:], self._first_row[same:]
        for exchange, within in frames[same:]:
            self._first_row.append(len(self._rows))
            self._rows += exchange_rows(exchange, within)
        if not frames:
            self._rows = [[(INVITATION[:width], "figures")]]
        self._laid_out = frames
        self.virtual_size = Size(width, len(self._rows))
        if self.following:
            self._go_to_end()
        self.refresh()

    def _go_to_end(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True, force=True)

    def on_resize(self, event: Resize) -> None:
        self._lay_out()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow the end only while the view is there, so that a person can scroll up while answers grow."""
        super().watch_scroll_y(old_value, new_value)
        self.following = round(new_value) >= self.max_scroll_y

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        width, ground = self.size.width, self.rich_style
        if row >= len(self._rows):
            return Strip.blank(width, ground)
        segments = [Segment(text, self._style(look, ground)) for text, look in self._rows[row] if text]
        return Strip(segments).crop(0, width).extend_cell_length(width, ground).apply_offsets(0, row)

    def _style(self, look: str, ground: Style) -> Style:
        return ground if look == "text" else ground + self.get_component_rich_style(f"transcript--{look}", partial=True)


def _alike(one: FramedExchange, other: FramedExchange) -> bool:
    return one[0] is other[0] and one[1] == other[1]

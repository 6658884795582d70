"""A family of rounds as a tree that the cursor goes through round by round."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual import on, work
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from engine.compare.causes import ChangesAtOnce
from engine.compare.lineage import Kin, all_changes_at_once
from engine.spec.round import Round
from tui.views.lineage import NOTHING_AT_ONCE, LineageLine, Role, lineage_lines

STYLES: dict[Role, str] = {
    "rail": "$text-muted", "number": "bold", "name": "bold", "status": "$text-warning", "result": "",
    "best": "bold $text-success", "fell": "$text-success", "rose": "$text-warning", "changes": "$text-primary",
    "note": "", "message": "bold",
}  # fmt: skip


FEW_ROUNDS = 1000  # of a workspace; with more, a family is laid out in a thread


class LinesReady(Message):
    """The lines of a family are laid out for a width of the screen."""

    def __init__(self, family: Sequence[Kin], rounds: Sequence[Round], width: int) -> None:
        super().__init__()
        self.family = family
        self.at_once = all_changes_at_once(family, rounds)
        self.lines = lineage_lines(family, width, self.at_once)


class LineageTree(ScrollView, can_focus=True, inherit_bindings=False):
    """The lines of a family, drawn as they come into view; the cursor skips deleted rounds."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", tooltip="Watch the selected round: curve, figures, log", id="lineage.open"),
        Binding("j,down", "move(1)", "Next round", show=False, tooltip="Down to the next round", id="lineage.down"),
        Binding("k,up", "move(-1)", "Round before", show=False, tooltip="Up to the round before", id="lineage.up"),
        Binding("h,left", "parent", "Parent", show=False, tooltip="To the round it came from", id="lineage.parent"),
        Binding(
            "l,right", "child", "Child", show=False, tooltip="To the first round that came from it", id="lineage.child"
        ),
        Binding("g,home", "move_to(0)", "First", show=False, tooltip="To the first round", id="lineage.first"),
        Binding("G,end", "move_to(-1)", "Last", show=False, tooltip="To the last round", id="lineage.last"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, tooltip="A page down", id="lineage.page_down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, tooltip="A page up", id="lineage.page_up"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"lineage--line", "lineage--cursor"}
    DEFAULT_CSS = """
    LineageTree {
        height: 1fr;
        scrollbar-size: 0 1;
        & > .lineage--cursor { background: $primary 20%; }
        &:focus > .lineage--cursor { background: $primary 35%; }
    }
    """

    class Opened(Message):
        """The round under the cursor was chosen, by enter or a second click."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._family: Sequence[Kin] = ()
        self._rounds: Sequence[Round] = ()
        self._at_once: Mapping[int, ChangesAtOnce] = NOTHING_AT_ONCE
        self._lines: list[LineageLine] = []
        self._numbers: list[int] = []  # of the rounds that take the cursor
        self._starts: list[int] = []  # the line each of these begins at, once there is a width
        self._cursor = 0

    @property
    def selected_number(self) -> int | None:
        """The number of the round under the cursor."""
        return self._numbers[self._cursor] if self._numbers else None

    @property
    def selected_changes(self) -> ChangesAtOnce | None:
        """The settings that changed at once to the round under the cursor, None if fewer than two did."""
        return self._at_once.get(self.selected_number) if self.selected_number is not None else None

    def show(self, family: Sequence[Kin], rounds: Sequence[Round], select: int | None) -> None:
        """Show `family`, some of `rounds`, with the cursor on the round `select`, or where it was without this one."""
        if (family, rounds) != (self._family, self._rounds):
            self._family, self._rounds = family, rounds
            self._numbers = [kin.number for kin in family if kin.round is not None]
            self._lay_out()
        if select in self._numbers:
            self._cursor = self._numbers.index(select)
        self._cursor = max(0, min(self._cursor, len(self._numbers) - 1))
        self._bring_into_view()
        self.refresh()

    def on_resize(self, event: Resize) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.size.width - 2
        if width <= 0:
            return
        self._starts = []  # until the lines of this family are laid out
        if len(self._rounds) > FEW_ROUNDS:
            self._lay_out_many(self._family, self._rounds, width)
        else:
            self._take(LinesReady(self._family, self._rounds, width))

    @work(thread=True, exclusive=True, group="layout")
    def _lay_out_many(self, family: Sequence[Kin], rounds: Sequence[Round], width: int) -> None:
        self.post_message(LinesReady(family, rounds, width))

    @on(LinesReady)
    def _take(self, event: LinesReady) -> None:
        if event.family is not self._family:
            return
        self._lines, self._at_once = event.lines, event.at_once
        starts: dict[int, int] = {}
        for y, line in enumerate(self._lines):
            starts.setdefault(line.number, y)
        self._starts = [starts[number] for number in self._numbers]
        self.virtual_size = Size(self.size.width, len(self._lines))
        self._bring_into_view()
        self.refresh()

    def _span(self, index: int) -> range:
        """Return the lines of a round by its place in `_numbers`."""
        start = end = self._starts[index]
        while end < len(self._lines) and self._lines[end].number == self._numbers[index]:
            end += 1
        return range(start, end)

    def _bring_into_view(self) -> None:
        if not self._starts or not self.size.height:
            return
        lines, top, page = self._span(self._cursor), self.scroll_offset.y, self.size.height
        new_top = lines.start if lines.start < top or len(lines) > page else max(top, lines.stop - page)
        if new_top != top:
            self.scroll_to(y=new_top, animate=False, force=True)

    def move_cursor(self, index: int) -> None:
        """Put the cursor on a round by its place in `_numbers`."""
        index = max(0, min(index, len(self._numbers) - 1))
        if not self._numbers or index == self._cursor:
            return
        before, self._cursor = self._cursor, index
        for changed in (before, index) if self._starts else ():
            for y in self._span(changed):
                self.refresh(Region(0, y - self.scroll_offset.y, self.size.width, 1))
        self._bring_into_view()

    def action_move(self, by: int) -> None:
        self.move_cursor(self._cursor + by)

    def action_move_to(self, index: int) -> None:
        self.move_cursor(index if index >= 0 else len(self._numbers) + index)

    def action_page(self, pages: int) -> None:
        if self._starts:
            self.move_cursor(self._at(self._starts[self._cursor] + pages * max(1, self.size.height - 2)))

    def _at(self, line: int) -> int:
        """Return the place of the round that a line belongs to."""
        return max(0, bisect_right(self._starts, line) - 1)

    def action_parent(self) -> None:
        """Go to the round that the selected one came from."""
        selected = self.selected_number
        parent = next((kin.parent for kin in self._family if kin.number == selected), None)
        if parent is not None and parent.number in self._numbers:
            self.move_cursor(self._numbers.index(parent.number))

    def action_child(self) -> None:
        """Go to the first round that came from the selected one."""
        selected = self.selected_number
        for kin in self._family:
            if kin.parent is not None and kin.parent.number == selected:
                self.move_cursor(self._numbers.index(kin.number))
                return

    def action_open(self) -> None:
        if self._numbers:
            self.post_message(self.Opened())

    def on_click(self, event: Click) -> None:
        event.stop()
        line = event.y + self.scroll_offset.y
        if line >= len(self._lines) or not self._lines[line].selectable:
            return
        index = self._numbers.index(self._lines[line].number)
        if index == self._cursor:
            self.action_open()
        else:
            self.move_cursor(index)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.refresh()

    def _style(self, selected: bool, role: Role) -> RichStyle:
        style = self.get_visual_style("lineage--cursor" if selected else "lineage--line")
        return (style + Style.parse(STYLES[role])).rich_style if STYLES[role] else style.rich_style

    def render_line(self, y: int) -> Strip:
        y += self.scroll_offset.y
        if y >= len(self._lines):
            return Strip.blank(self.size.width, self._style(False, "rail"))
        line = self._lines[y]
        selected = line.number == self.selected_number
        rail = self._style(False, "rail")
        first = bool(self._starts) and y == self._starts[self._cursor]
        segments = [Segment("▶" if selected and first else " ", rail)]
        for text, role in line.parts:
            segments.append(Segment(text, rail if role == "rail" else self._style(selected, role)))
        return Strip(segments).adjust_cell_length(self.size.width, self._style(selected, "note"))

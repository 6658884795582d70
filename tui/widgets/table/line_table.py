"""The lines of a table, formatted when they come into view: any number of rows costs the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from tui.terminal.console import clean_line
from tui.widgets.table.cells import GAP, MIN_FILL, MIN_SHRUNK, Cell, Line, TableColumn, fit

SAMPLED_ROWS = 100
STRIDE = 7919  # a prime
KEPT = 2000  # formatted rows


class LineTable(ScrollView, inherit_bindings=False):
    """Rows under a header, on Textual's line API; the first column stays in place while the others scroll.

    A subclass defines the text of a row by `cells_of`, `gutter_of` and `heading_of`.

    Attributes:
        columns: from left to right.
        rows: a key for each row: the number of its round, or a text.
        empty_text: the text of a table without rows, such as which key to press.
        cursor_row, cursor_column: the place of the cursor; with `chooses_columns` the header of its column is marked.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--row", "table--cursor", "table--marked", "table--heading", "table--header", "table--header-cursor",
    }  # fmt: skip
    DEFAULT_CSS = """
    LineTable {
        height: 1fr;
        scrollbar-size: 0 1;
        & > .table--header { background: $surface; color: $text-muted; text-style: bold; }
        & > .table--header-cursor { background: $surface; color: $text; text-style: bold underline; }
        & > .table--heading { color: $text-accent; text-style: bold; }
        & > .table--marked { background: $primary 20%; }
        & > .table--cursor {
            background: $block-cursor-blurred-background;
            color: $block-cursor-blurred-foreground;
            text-style: $block-cursor-blurred-text-style;
        }
        &:focus > .table--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: $block-cursor-text-style;
        }
    }
    """
    chooses_columns = False
    gutter_width = 1
    empty_text = ""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.columns: Sequence[TableColumn] = ()
        self.rows: Sequence[int | str] = ()
        self.cursor_row = 0
        self.cursor_column = 0
        self._widths: list[int] = []
        self._painted_widths: list[int] = []
        self._cells: dict[int, tuple[Cell, ...]] = {}
        self._strips: dict[Line, Strip] = {}
        self._painted: dict[int, Line] = {}
        self._painted_header: Strip | None = None
        self._styles_of: dict[tuple[str, str], RichStyle] = {}

    def cells_of(self, row: int) -> Sequence[Cell]:
        """Return the cells of a row, as many as there are columns."""
        raise NotImplementedError

    def gutter_of(self, row: int) -> str:
        """Return the text before the first cell, `gutter_width` wide."""
        return ""

    def heading_of(self, row: int) -> str | None:
        """Return the text of a row that is a heading, which the cursor skips; None for any other row."""
        return None

    def is_marked(self, row: int) -> bool:
        return False

    def title_of(self, column: TableColumn) -> str:
        """Return the header of a column."""
        return column.title

    @property
    def view_width(self) -> int:
        """The cells of a line without those of the scrollbar."""
        is_tall = len(self.rows) >= self.size.height
        return self.size.width - (self.styles.scrollbar_size_vertical if is_tall else 0)

    @property
    def row_count(self) -> int:
        return len(self.rows)

    def texts_at(self, row: int) -> list[str]:
        """Return the texts of the cells of a row, uncut."""
        return [cell.text for cell in self._cells_at(row)]

    def forget_cells(self) -> None:
        """Repaint the rows whose cells changed, in columns that are wide enough for them."""
        self._cells.clear()
        self._grow()
        self._repaint_changes()

    def refresh_rows(self) -> None:
        """Repaint the rows whose text or look changed, for example marked ones."""
        self._cells.clear()
        self._repaint_changes()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()
        self._strips.clear()
        self.refresh()

    def _cells_at(self, row: int) -> tuple[Cell, ...]:
        if row not in self._cells:
            if len(self._cells) > KEPT:
                self._cells.clear()
            self._cells[row] = tuple(Cell(clean_line(text), style) for text, style in self.cells_of(row))
        return self._cells[row]

    def _visible_rows(self) -> range:
        top = self.scroll_offset.y
        return range(top, min(top + max(0, self.size.height - 1), len(self.rows)))

    def _measure(self) -> None:
        """Measure the rows in view and a sample of the others; a wider row widens its columns once it is in view."""
        self._widths = [0] * len(self.columns)
        self._grow(sample(len(self.rows)))

    def _grow(self, rows: Iterable[int] = ()) -> None:
        """Widen the columns to fit their titles, `rows` and the rows in view; none becomes narrower."""
        if len(self._widths) != len(self.columns):
            return
        titles = [cell_len(self.title_of(column)) for column in self.columns]
        widths = [max(width, title) for width, title in zip(self._widths, titles, strict=True)]
        for row in {*rows, *self._visible_rows()}:
            self._widen(widths, row)
        self._set_widths(widths)

    def _widen(self, widths: list[int], row: int) -> None:
        if self.heading_of(row) is not None:
            return
        for index, (column, cell) in enumerate(zip(self.columns, self._cells_at(row), strict=True)):
            if not column.fills:
                width = cell_len(cell.text)
                widths[index] = max(widths[index], width if column.right else min(width, column.widest))

    def _set_widths(self, widths: list[int]) -> None:
        room = self.view_width - self.gutter_width - sum(widths) - GAP * (len(widths) - 1)
        for index in sorted(range(len(widths)), key=lambda index: not self.columns[index].fills):  # these first
            column, before = self.columns[index], widths[index]
            if column.fills:
                widths[index] = max(MIN_FILL, before + room)
            elif column.shrinks and room < 0:
                widths[index] = min(before, max(MIN_SHRUNK, before + room))
            room -= widths[index] - before
        if widths != self._painted_widths:
            self._painted_widths = widths
            self._strips.clear()
            self.refresh()
        self._widths = widths
        self._resize_content()

    def _resize_content(self) -> None:
        width = self.gutter_width + sum(self._widths) + GAP * max(0, len(self._widths) - 1)
        self.virtual_size = Size(width, len(self.rows) + 1)

    def _repaint_changes(self) -> None:
        """Repaint only the lines that differ: all of them take twice the processor time while a round trains."""
        if self._crop(self._header()) != self._painted_header:
            self.refresh(Region(0, 0, self.view_width, 1))
        top = self.scroll_offset.y
        for y in range(1, self.size.height):
            row = top + y - 1
            if (self._line(row) if row < len(self.rows) else None) != self._painted.get(y):
                self.refresh(Region(0, y, self.view_width, 1))

    def _line(self, row: int) -> Line:
        style = "cursor" if row == self.cursor_row else "marked" if self.is_marked(row) else "row"
        if (heading := self.heading_of(row)) is not None:
            return Line("heading", "", (Cell(clean_line(heading)),))
        return Line(style, self.gutter_of(row), self._cells_at(row))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Scroll, and widen the columns to fit the rows that came into view."""
        super().watch_scroll_y(old_value, new_value)
        self._grow()

    def render_line(self, y: int) -> Strip:
        if y == 0:
            self._painted_header = self._crop(self._header())
            return self._painted_header
        row = y - 1 + self.scroll_offset.y
        if row >= len(self.rows) or len(self._widths) != len(self.columns):
            self._painted.pop(y, None)
            return self._blank(self.empty_text if y == 2 and not self.rows else "")
        line = self._line(row)
        self._painted[y] = line
        if line not in self._strips:
            if len(self._strips) > KEPT:
                self._strips.clear()
            self._strips[line] = self._strip(line)
        return self._strips[line] if line.style == "heading" else self._crop(self._strips[line], line.style)

    def _blank(self, text: str) -> Strip:
        """Return a line without a row, with `text` in its middle."""
        width = self.view_width
        return Strip([Segment(fit(text, width) if cell_len(text) >= width else text.center(width), self._style("row"))])

    def _style(self, component: str, own: str = "") -> RichStyle:
        rich_style = self._styles_of.get((component, own))
        if rich_style is None:
            style = self.get_visual_style(f"table--{component}")
            if own:
                style += Style.parse(own.partition("$")[0] if component == "cursor" else own)
            rich_style = self._styles_of[component, own] = style.rich_style
        return rich_style

    def _strip(self, line: Line) -> Strip:
        """Return a line over the whole width of the content, or of the widget for a heading."""
        if line.style == "heading":
            text = set_cell_size(line.cells[0].text, max(0, self.view_width))
            return Strip([Segment(text, self._style("heading"))], self.view_width)
        plain = self._style(line.style)
        segments = [Segment(set_cell_size(line.gutter, self.gutter_width), plain)]
        for index, (column, cell, width) in enumerate(zip(self.columns, line.cells, self._widths, strict=True)):
            if index:
                segments.append(Segment(" " * GAP, plain))
            segments.append(Segment(fit(cell.text, width, column.right), self._style(line.style, cell.style)))
        return Strip(segments)

    def _header(self) -> Strip:
        plain = self._style("header")
        segments = [Segment(" " * self.gutter_width, plain)]
        for index, (column, width) in enumerate(zip(self.columns, self._widths, strict=False)):
            if index:
                segments.append(Segment(" " * GAP, plain))
            chosen = self.chooses_columns and index == self.cursor_column
            text = fit(self.title_of(column), width, column.right)
            segments.append(Segment(text, self._style("header-cursor") if chosen else plain))
        return Strip(segments)

    def _crop(self, strip: Strip, component: str = "header") -> Strip:
        """Return the visible part of a line; `‹` and `›` in the header show that there are more columns."""
        width, x = self.view_width, self.scroll_offset.x
        style = self._style(component)
        fixed = self._fixed_width
        if self.virtual_size.width <= width:
            return strip.adjust_cell_length(width, style)
        shown = Strip.join([strip.crop(0, fixed), strip.crop(fixed + x, x + width)]).adjust_cell_length(width, style)
        if component != "header":
            return shown
        parts = [shown]
        if x:
            parts = [shown.crop(0, fixed - 1), Strip([Segment("‹", style)]), shown.crop(fixed)]
        if x + width < self.virtual_size.width:
            parts = [Strip.join(parts).crop(0, width - 1), Strip([Segment("›", style)])]
        return Strip.join(parts)

    @property
    def _fixed_width(self) -> int:
        return self.gutter_width + (self._widths[0] + GAP if self._widths else 0)


def sample(count: int) -> set[int]:
    """Return up to `SAMPLED_ROWS` of `count` places, with the last; a prime stride avoids any pattern of the rows."""
    return {count - 1, *(place * STRIDE % count for place in range(min(count, SAMPLED_ROWS)))} if count else set()

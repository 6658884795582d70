"""What is painted leaves the terminal as what Textual itself would write, in fewer bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.drivers.headless_driver import HeadlessDriver
from textual.geometry import Region
from textual.strip import Strip

from engine.api import Cockpit
from engine.files.paths import Workspace
from tests.support.pilot import AppPilot, OpenApp, shown, until
from tui.terminal.frame_diff import FrameDiff

COLUMNS, ROWS = 12, 4
CONSOLE = Console(color_system="truecolor", force_terminal=True)
STYLES = [
    None,
    *map(
        Style.parse,
        (
            "bold", "dim", "bold #ff0000 on #000000", "#ff0000 on #000000", "#00ff00 on #000000", "reverse red",
            "underline on blue", "strike italic", "color(9) on color(200)", "bright_green on bright_black", "default",
        ),
    ),
]  # fmt: skip
CHARACTERS = "ab 界─⣿é"
Update = LayoutUpdate | ChopsUpdate

segments = st.lists(
    st.tuples(st.text(CHARACTERS, min_size=1, max_size=8), st.sampled_from(STYLES)).map(lambda pair: Segment(*pair)),
    max_size=6,
)

pytestmark = pytest.mark.painted
lines = segments.map(lambda row: Strip(row).adjust_cell_length(COLUMNS))
regions = st.tuples(
    st.integers(0, COLUMNS - 1), st.integers(0, ROWS - 1), st.integers(1, COLUMNS), st.integers(1, ROWS)
).map(lambda place: Region(*place).intersection(Region(0, 0, COLUMNS, ROWS)))


def whole(rows: Sequence[Strip]) -> LayoutUpdate:
    """A frame of the whole screen."""
    return LayoutUpdate([[row] for row in rows], Region(0, 0, COLUMNS, len(rows)))


def part(rows: Sequence[Strip], region: Region) -> ChopsUpdate:
    """A frame of one region, cut as the compositor does at its sides."""
    cuts = sorted({0, region.x, region.right, COLUMNS})
    chops = [dict(zip(cuts, row.divide(cuts[1:]), strict=False)) for row in rows]
    spans = [(y, region.x, region.right) for y in region.line_range]
    return ChopsUpdate(chops, spans, [cuts[1:]] * len(rows))


class Shown:
    """A terminal, as pyte has it."""

    def __init__(self, columns: int = COLUMNS, rows: int = ROWS) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.screen.reset_mode(7, private=True)  # lines do not wrap, as Textual sets it
        self.stream = pyte.Stream(self.screen)

    @property
    def cells(self) -> list[list[Any]]:
        """Character and looks of each cell; a blank has no looks but what shows on it."""
        rows, columns = range(self.screen.lines), range(self.screen.columns)
        return [[_looks(self.screen.buffer[y][x]) for x in columns] for y in rows]


def _looks(cell: Any) -> Any:
    if cell.data == " " and not (cell.reverse or cell.underscore or cell.strikethrough):
        return cell._replace(fg="default", bold=False, italics=False)
    return cell


def painted(updates: Sequence[Update]) -> tuple[Shown, Shown]:
    """Two terminals after these frames: one that we painted, one that Textual did."""
    ours, textuals, diff = Shown(), Shown(), FrameDiff()
    for update in updates:
        ours.stream.feed(diff.paint(update, ColorSystem.TRUECOLOR))
        textuals.stream.feed(update.render_segments(CONSOLE))
    return ours, textuals


@given(st.lists(st.lists(lines, min_size=ROWS, max_size=ROWS), min_size=1, max_size=4))
def test_whole_frames_look_as_textual_has_them(frames: list[list[Strip]]) -> None:
    ours, textuals = painted([whole(rows) for rows in frames])
    assert ours.cells == textuals.cells


@given(
    st.lists(lines, min_size=ROWS, max_size=ROWS),
    st.lists(st.tuples(st.lists(lines, min_size=ROWS, max_size=ROWS), regions), max_size=4),
)
def test_parts_of_frames_look_as_textual_has_them(first: list[Strip], parts: list[tuple[list[Strip], Region]]) -> None:
    ours, textuals = painted([whole(first), *(part(rows, region) for rows, region in parts)])
    assert ours.cells == textuals.cells


@given(st.lists(lines.filter(lambda row: "界" not in row.text), min_size=ROWS, max_size=ROWS))  # a cut may halve it
def test_what_stands_there_is_not_written_again(rows: list[Strip]) -> None:
    diff = FrameDiff()
    diff.paint(whole(rows), ColorSystem.TRUECOLOR)
    assert diff.paint(whole(rows), ColorSystem.TRUECOLOR) == ""
    assert diff.paint(part(rows, Region(2, 1, 5, 2)), ColorSystem.TRUECOLOR) == ""


def test_only_the_cells_that_differ_are_written() -> None:
    diff, red = FrameDiff(), Style.parse("red")
    rows = [Strip([Segment("loss 1.234  ", red)])]
    diff.paint(whole(rows), ColorSystem.TRUECOLOR)
    written = diff.paint(whole([Strip([Segment("loss 1.239  ", red)])]), ColorSystem.TRUECOLOR)
    assert written == "\x1b[1;10H\x1b[31m9\x1b[0m"


def test_forgotten_screen_is_written_whole() -> None:
    diff, rows = FrameDiff(), [Strip([Segment("as it stood ")])]
    first = diff.paint(whole(rows), ColorSystem.TRUECOLOR)
    diff.forget()
    assert diff.paint(whole(rows), ColorSystem.TRUECOLOR) == first


@pytest.mark.parametrize("text", ["e\u0301", "👍", "☺\ufe0f", "1️⃣"])
def test_cursor_is_put_right_after_what_terminals_disagree_about(text: str) -> None:
    """Whatever width a terminal gives it, what follows stands where it should."""
    row = Strip([Segment(f"{text}rest")])
    written = FrameDiff().paint(LayoutUpdate([[row]], Region(0, 0, row.cell_length, 1)), ColorSystem.TRUECOLOR)
    assert written == f"\x1b[1;1H{text}\x1b[{row.cell_length - 3}Grest"


class Wire:
    """What the app writes to a terminal of its size, and what that terminal then shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[str] = []
        monkeypatch.setattr(HeadlessDriver, "is_headless", False)
        monkeypatch.setattr(HeadlessDriver, "write", lambda _, data: self.written.append(data))

    def shows_the_screen_of(self, pilot: AppPilot, since: int = 0) -> bool:
        """Whether what was written makes a terminal show what Textual would write for the whole of the screen."""
        app = pilot.app
        ours, textuals = (Shown(*app.size) for _ in range(2))
        ours.stream.feed("".join(self.written[since:]))
        textuals.stream.feed(app.screen._compositor.render_full_update().render_segments(app.console))
        return ours.cells == textuals.cells


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


async def test_terminal_shows_every_screen_whole(reference_workspace: Workspace, open_app: OpenApp, wire: Wire) -> None:
    cockpit = Cockpit(reference_workspace, lambda _: None)
    async with open_app(cockpit, size=(100, 30)) as pilot:
        await until(pilot, lambda: "5 rounds" in shown(pilot, "#title"), "the rounds")
        for key in (
            "up",
            "home",
            "question_mark",
            "escape",
            "enter",
            "s",
            "escape",
            "n",
            "enter",
            "7",
            "down",
            "escape",
        ):
            await pilot.press(key)
            await until(pilot, lambda: wire.shows_the_screen_of(pilot), f"the screen after {key}")


async def test_terminal_that_lost_what_it_showed_is_painted_whole(
    reference_workspace: Workspace, open_app: OpenApp, wire: Wire
) -> None:
    async with open_app(Cockpit(reference_workspace, lambda _: None), size=(100, 30)) as pilot:
        await until(pilot, lambda: "5 rounds" in shown(pilot, "#title"), "the rounds")
        since = len(wire.written)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: wire.shows_the_screen_of(pilot, since), "the screen after Ctrl+L")
        since = len(wire.written)
        pilot.app.post_message(HeadlessDriver.SignalResume())
        await until(pilot, lambda: wire.shows_the_screen_of(pilot, since), "the screen after fg")
        since = len(wire.written)
        await pilot.resize_terminal(90, 28)
        await until(pilot, lambda: wire.shows_the_screen_of(pilot, since), "the screen at another size")


async def test_frame_that_changes_nothing_writes_nothing(
    reference_workspace: Workspace, open_app: OpenApp, wire: Wire
) -> None:
    async with open_app(Cockpit(reference_workspace, lambda _: None)) as pilot:
        await until(pilot, lambda: "5 rounds" in shown(pilot, "#title"), "the rounds")
        await until(pilot, lambda: wire.shows_the_screen_of(pilot), "the table")
        since = len(wire.written)
        pilot.app.screen.refresh(layout=True)
        await pilot.pause(0.2)
        assert wire.written[since:] == []

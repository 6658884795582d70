"""Hostile text, an app whose output is captured, and the judge of what comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import regex
from hypothesis import strategies as st
from textual import on
from textual.drivers.headless_driver import HeadlessDriver
from textual.pilot import Pilot
from textual.widget import Widget

from engine.api import Cockpit
from tests.support.processes import ROOT
from tui.app import LoratuiApp
from tui.messages import RoundsRead, StoreUnreadable

STEERING = (
    "\x1b[31337m", "\x1b[2J\x1b[H", "\x1b]52;c;MzEzMzc=\x07", "\x1b]0;31337\x07",
    "\x1b]8;;http://x/31337\x1b\\x\x1b]8;;\x1b\\", "\x1bP31337\x1b\\", "\x1b_31337\x1b\\", "\x1b^31337\x1b\\", "\x1bc",
    "\x1b", "\x9b31337m", "\x9d0;31337\x9c", "\x9031337\x9c", "\x07", "a\x08\x08b", "over\rwritten",
    "\x0b\x0c\x0e\x0f", "\x00\x7f\x85", "\x1b[?1049l\x1b[?25h", "\x1b[>31337u",
)  # fmt: skip
HIDING = (
    "\u202egnp.exe", "\u2066a\u2069\u2067b", "\u061c\u200e\u200f", "a\u200bb\u200cc\u200dd", "\ufeff\u2060\u00ad\u034f",
    "\U000e0001\U000e0041\U000e007f", "\ufff9a\ufffab\ufffb", "\u115f\u1160\u3164\uffa0",
    "\u180b\u180e\ufe0f\U000e0100", "\u2028\u2029", "\ud800 \udfff \udc9b31337m",
    "👩\u200d🔬 ❤\ufe0f می\u200cشود",
)  # fmt: skip
MARKUP = (
    "[@click=app.quit]Q7[/]", "[red]Q7[/]", "[/]", "[/", "[]", "list[int]", "[bold", "\\[red]Q7", "[link=http://x]Q7[/link]",
    "[$primary]Q7[/]", "[on red]Q7[/on red]", ":smile: [i]Q7", "[[red]]Q7",
)  # fmt: skip
PIECES = (
    st.sampled_from(STEERING + HIDING + MARKUP) | st.characters() | st.sampled_from("\x1b\x9b\x9d\x07\x08\r\n\t[];m")
)
TEXTS = st.lists(PIECES, min_size=1, max_size=6).map("".join)

# What Textual and Rich themselves tell a terminal in the course of drawing.
DRAWING = regex.compile(
    r"\x1b\[(?:[0-9]{1,3}(?:;[0-9]{1,3})*)?m|\x1b\[[0-9]{1,3};[0-9]{1,3}H|\x1b\[[0-9]{1,3}[CG]|\x1b\[\?2026[hl]"
    r"|\x1b\]22;[a-z-]*\x07|\n(?=\x1b\[)"
)
DRAWN = r"\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"  # format characters that have a glyph
HARMFUL = regex.compile(rf"(?V1)[[\p{{Cc}}\p{{Cf}}\p{{Cs}}\p{{Zl}}\p{{Zp}}\p{{DI}}]--[{DRAWN}]]")


def leaks(written: str) -> list[str]:
    """What steers or hides in the output of an app, that its drawing is no reason for, with what stands around it."""
    rest = DRAWING.sub("", written)
    return [rest[max(0, found.start() - 20) : found.end() + 20] for found in HARMFUL.finditer(rest)]


class CapturingDriver(HeadlessDriver):
    """Keeps what a terminal would be sent."""

    written = ""

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        self.written += data


class CapturedApp(LoratuiApp):
    """The app, with its output captured and no exception forgiven."""

    CSS_PATH = str(ROOT / "tui" / "app.tcss")

    def __init__(self, cockpit: Cockpit, directory: Path) -> None:
        super().__init__(cockpit, directory)
        self.driver_class = CapturingDriver
        self.defect: Exception | None = None
        self.has_read_store = asyncio.Event()  # later nothing takes the place of what a test shows

    @on(RoundsRead)
    @on(StoreUnreadable)
    def _note_reading(self) -> None:
        self.has_read_store.set()

    def _handle_exception(self, error: Exception) -> None:
        self.defect = self.defect or error
        super()._handle_exception(error)

    async def drawn(self) -> None:
        """Let the app work off its messages, and draw."""
        pilot = Pilot(self)
        await pilot.pause()
        await pilot.pause()

    def take(self) -> str:
        """What was written since the last time."""
        driver = self._driver
        assert isinstance(driver, CapturingDriver)
        written, driver.written = driver.written, ""
        return written


@asynccontextmanager
async def captured(cockpit: Cockpit, directory: Path, size: tuple[int, int] = (150, 60)) -> AsyncIterator[CapturedApp]:
    """A running app whose output is captured."""
    app = CapturedApp(cockpit, directory)
    ready = asyncio.Event()

    async def driven(_: Pilot[object]) -> None:
        await app.has_read_store.wait()
        ready.set()

    running = asyncio.create_task(app.run_async(size=size, auto_pilot=driven))
    try:
        await asyncio.wait({running, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        with app._context():
            yield app
    finally:
        app.exit()
        await running
        if app.defect is not None:
            raise app.defect


def clickable(app: CapturedApp) -> list[str]:
    """What of the screen would do something when it is clicked on, or is a link, by its text."""
    found = []
    for widget in app.screen.walk_children(Widget):
        if widget.size and not widget.is_container:
            for line in range(widget.size.height):
                for text, style, _ in widget.render_line(line):
                    if style is not None and ("@click" in style.meta or style.link):
                        found.append(text)
    return found


def interpreted(written: str) -> bool:
    """Whether markup was taken for markup: each `Q7` stands behind a bracket that would then be gone."""
    return regex.search(r"[^\]\s]Q7", DRAWING.sub("", written)) is not None

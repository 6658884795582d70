"""The screen that covers another one in a terminal that is too small for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui.widgets.current_size import CurrentSize

MIN_SIZE = Size(60, 16)  # of a screen that does not say so itself in an attribute of this name


class TooSmallScreen(ModalScreen[None], CurrentSize):
    """Says which size the last of `screens` needs, which it covers, and how to leave that for one that needs less.

    The covered screen keeps what was typed, and gets no keys.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.leave_covered", "Back", tooltip="Back to a screen that has room", id="small.back"),
        Binding("q", "app.quit", "Quit", tooltip="Leave loratui; running rounds continue", id="small.quit"),
    ]
    DEFAULT_CSS = """
    TooSmallScreen { background: $background; align: center middle; }
    TooSmallScreen Static { width: 100%; text-align: center; }
    """

    def __init__(self, screens: Sequence[Screen[Any]]) -> None:
        super().__init__()
        self._screens = screens

    def compose(self) -> ComposeResult:
        yield Static(self._sentence(self.app.size), markup=False)

    def on_resize(self, event: Resize) -> None:
        self.query_one(Static).update(self._sentence(event.size))

    def _sentence(self, size: Size) -> Content:
        width, height = min_size(self._screens[-1])
        way_back = "press esc to go back, " if any(fits(screen, size) for screen in self._screens) else ""
        return Content(
            f"This screen needs {width}×{height} characters, and this terminal has {size.width}×{size.height}: "
            f"make it larger, {way_back}or press q to leave loratui"
        )


def min_size(screen: Screen[Any]) -> Size:
    """Return the size of the smallest terminal in which `screen` can be used."""
    return getattr(screen, "MIN_SIZE", MIN_SIZE)


def fits(screen: Screen[Any], size: Size) -> bool:
    """Return True if a terminal of this size is large enough for `screen`."""
    width, height = min_size(screen)
    return size.width >= width and size.height >= height


def way_back(kind: type[Screen[Any]]) -> str:
    """Return the action with which Escape leaves a screen of this class, whatever its keys are now."""
    bindings = [each for base in kind.__mro__ for each in base.__dict__.get("BINDINGS", ())]
    return next(each.action for each in bindings if isinstance(each, Binding) and "escape" in each.key.split(","))


def cover_if_small(app: App[Any], size: Size) -> None:
    """Cover the top screen while a terminal of this size is too small for it; what was typed into it stays."""
    screens = [screen for screen in app.screen_stack if not isinstance(screen, TooSmallScreen)]
    if fits(screens[-1], size):
        uncover(app)
    elif not isinstance(app.screen, TooSmallScreen):
        app.push_screen(TooSmallScreen(screens))


def uncover(app: App[Any]) -> None:
    """Show the covered screen again, if one is covered."""
    while isinstance(app.screen, TooSmallScreen):
        app.pop_screen()


async def leave_covered(app: App[Any], size: Size) -> None:
    """Leave the covered screen as its own Escape does, if one below it has room."""
    if isinstance(app.screen, TooSmallScreen) and any(fits(screen, size) for screen in app.screen_stack[:-1]):
        uncover(app)
        await app.run_action(way_back(type(app.screen)), app.screen)

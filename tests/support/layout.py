"""Check the layout of the screens an app shows: no two panes overlap, and nothing that is needed is cut off."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator

from textual.geometry import Region, Size
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from scripts.scenes import AppPilot, lines_of
from tui.screens.dialogs.too_small import fits

LAYOUT_SECONDS = 2.0
WHOLE = (80, 22)
# The columns and rows of some widgets that have to be visible on 80×22, and their shares on less.
LEAST = {
    "KeyFooter": (80, 1), "CurveChart": (38, 8), "RoundTable": (80, 6), "QueueTable": (80, 6), "RoundDetail": (80, 3),
    "LineageTree": (80, 12), "CompareTable": (40, 6), "RunHeader": (80, 2), "RunFigures": (28, 8), "LogPane": (80, 3),
    "MachinePanel": (80, 3), "SamplePane": (80, 10), "SpecForm": (50, 6), "PlanPanel": (30, 3), "Banner": (80, 1),
    "AnswerPair": (80, 18),
    "Transcript": (80, 8), "ChatInput": (40, 1),
}  # fmt: skip


async def layout_mistakes(pilot: AppPilot, columns: int, rows: int) -> list[str]:
    """Return the mistakes that remain once the app has laid out its screens for `columns` × `rows`, in words."""
    deadline = time.monotonic() + LAYOUT_SECONDS
    while (mistakes := _mistakes_now(pilot, Size(columns, rows))) and time.monotonic() < deadline:
        await pilot.pause(0.02)  # a screen is laid out in several passes
    return [f"{columns}×{rows}: {mistake}" for mistake in mistakes]


def _mistakes_now(pilot: AppPilot, size: Size) -> list[str]:
    app = pilot.app
    mistakes = [
        mistake
        for screen in [*app._background_screens, app.screen]
        if fits(screen, size)
        for mistake in (*_too_small_or_overlapping(screen, size), *_outside(screen, size))
    ]
    mistakes += _cut_off(app.screen)
    return mistakes if isinstance(app.screen, ModalScreen) else [*mistakes, *_keys_missing(pilot)]


def _panes(widget: Widget) -> Iterator[Widget]:
    """Yield the visible children of a screen or container, one layer deep."""
    return (child for child in widget.children if child.display and child.visible and child.size.area)


def _too_small_or_overlapping(screen: Widget, size: Size) -> Iterator[str]:
    everything = Region(0, 0, *size)
    shown = [widget for widget in screen.walk_children(Widget) if widget.is_on_screen]
    for widget in shown:
        name, region = type(widget).__name__, widget.region
        if name in LEAST:
            visible = region.intersection(everything)
            shares = (min(1, room / whole) for room, whole in zip(size, WHOLE, strict=True))
            columns, rows = (math.ceil(least * share) for least, share in zip(LEAST[name], shares, strict=True))
            if visible.width < columns or visible.height < rows:
                yield f"{visible.width}×{visible.height} of {name} are visible, which is less than {columns}×{rows}"
    for parent in (screen, *shown):
        if (parent.is_scrollable and parent is not screen) or parent.styles.layers:
            continue
        for first, second in itertools.combinations(_panes(parent), 2):
            if first.layer == second.layer and first.styles.overlay == second.styles.overlay == "none":
                overlap = first.region.intersection(second.region)
                if overlap.area:
                    yield f"{first!r} and {second!r} overlap in {overlap}"


def _outside(screen: Widget, size: Size) -> Iterator[str]:
    everything = Region(0, 0, *size)
    for child in _panes(screen):
        if not everything.contains_region(child.region) and child.id != "textual-tooltip":
            yield f"{child!r} lies at {child.region}"


def _cut_off(screen: Screen[object]) -> Iterator[str]:
    """Say which parts of a dialog cannot be seen whole that tell what it is and how to leave it."""
    for widget in screen.query(".dialog-title, .hint, .buttons, .buttons Button"):
        place = screen.find_widget(widget)
        if widget.is_on_screen and place.visible_region != place.region:
            yield f"of {widget!r} in {place.region} only {place.visible_region} can be seen"
        elif widget.display and not widget.is_on_screen:
            yield f"{widget!r} cannot be seen"


def _keys_missing(pilot: AppPilot) -> Iterator[str]:
    last = lines_of(pilot)[-1]
    if "Help" not in last and "Commands" not in last:
        yield f"the last line says neither how to get help nor where the commands are: {last!r}"

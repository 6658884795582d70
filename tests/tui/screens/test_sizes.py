"""Every screen at many sizes of the terminal: no two panes overlap, and nothing that is needed is cut off."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.geometry import Region, Size
from textual.screen import ModalScreen
from textual.widget import Widget

from scripts.scenes import SCENES, AppPilot, lines_of, play, settle, stage
from tui.screens.dialogs.too_small import NEEDED

WIDTHS = [80, 97, 120, 160, 240]
HEIGHTS = [22, 24, 31, 45, 70]
SIZES = [*itertools.product(WIDTHS, HEIGHTS), (81, 25), (100, 30), (143, 37), (200, 60), (80, 24)]
OVER_THE_FORM = ("modules", "keep", "row")  # which is laid out beneath them, and is slow at it: fewer sizes
LAYOUT_SECONDS = 2.0
SMALLER = [(79, 24), (80, 21), (40, 12), (20, 5), (200, 10), (30, 60), (3, 2), (1, 1)]
# What has to be seen of some widgets: columns and rows.
LEAST = {
    "KeyFooter": (80, 1), "CurveChart": (40, 8), "RoundTable": (80, 6), "QueueTable": (80, 6), "RoundDetail": (80, 3),
    "LineageView": (80, 12), "CompareTable": (40, 6), "RunHeader": (80, 2), "RunFigures": (28, 8), "LogPane": (80, 3),
    "MachinePanel": (80, 3), "SamplePane": (80, 10), "SpecForm": (50, 6), "PlanPanel": (30, 3), "Banner": (80, 1),
    "AnswerPair": (80, 18),
    "Transcript": (80, 8), "TalkInput": (40, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def sample_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sample workspaces lie, or will."""
    return tmp_path_factory.mktemp("sizes")


def panes(widget: Widget) -> Iterator[Widget]:
    """What is shown of the children of a screen or container, one layer deep."""
    return (child for child in widget.children if child.display and child.visible and child.size.area)


def mistakes(screen: Widget, size: Size) -> Iterator[str]:
    """What is wrong with the layout of the screen, in words."""
    everything = Region(0, 0, *size)
    shown = [widget for widget in screen.walk_children(Widget) if widget.is_on_screen]
    for widget in shown:
        name, region = type(widget).__name__, widget.region
        if name in LEAST:
            seen = region.intersection(everything)
            columns, rows = LEAST[name]
            if seen.width < min(columns, size.width) or seen.height < rows:
                yield f"of {name} {seen.width}×{seen.height} are seen, which is less than {columns}×{rows}"
    for parent in (screen, *shown):
        if (parent.is_scrollable and parent is not screen) or parent.styles.layers:
            continue
        for first, second in itertools.combinations(panes(parent), 2):
            if first.layer == second.layer and first.styles.overlay == second.styles.overlay == "none":
                overlap = first.region.intersection(second.region)
                if overlap.area:
                    yield f"{first!r} and {second!r} overlap in {overlap}"


def outside(screen: Widget, size: Size) -> Iterator[str]:
    """The panes of a screen that reach beyond it."""
    everything = Region(0, 0, *size)
    for child in panes(screen):
        if not everything.contains_region(child.region) and child.id != "textual-tooltip":
            yield f"{child!r} lies at {child.region}"


@pytest.mark.parametrize("name", SCENES)
async def test_screen_is_whole_at_every_size(name: str, sample_directory: Path) -> None:
    scene, found = SCENES[name], []
    directory = sample_directory / ("empty" if scene.empty else "sample")
    directory.mkdir(exist_ok=True)
    with stage(directory):
        async with play(scene, directory, (80, 24)) as pilot:
            for size in itertools.starmap(Size, SIZES[:: 3 if name in OVER_THE_FORM else 1]):
                await pilot.resize_terminal(*size)
                deadline = time.monotonic() + LAYOUT_SECONDS
                while (wrong := all_mistakes(pilot, size)) and time.monotonic() < deadline:
                    await pilot.pause(0.02)  # it is laid out in several rounds
                found += [f"{size.width}×{size.height}: {text}" for text in wrong]
    assert found == []


def all_mistakes(pilot: AppPilot, size: Size) -> list[str]:
    """What is wrong with the screens that are shown, in words."""
    app = pilot.app
    found = [
        text
        for screen in [*app._background_screens, app.screen]
        for text in (*mistakes(screen, size), *outside(screen, size))
    ]
    return found if isinstance(app.screen, ModalScreen) else [*found, *keys_missing(pilot)]


def keys_missing(pilot: AppPilot) -> Iterator[str]:
    """What is not to be read of the last line: how to get help, or at least the commands."""
    last = lines_of(pilot)[-1]
    if "Help" not in last and "Commands" not in last:
        yield f"the last line says neither how to get help nor where the commands are: {last!r}"


@pytest.mark.parametrize("name", ["rounds", "form", "help"])
async def test_smaller_terminal_says_which_size_is_needed(name: str, sample_directory: Path) -> None:
    directory = sample_directory / "sample"
    directory.mkdir(exist_ok=True)
    with stage(directory):
        async with play(SCENES[name], directory, (80, 24)) as pilot:
            before = lines_of(pilot)
            for width, height in SMALLER:
                await pilot.resize_terminal(width, height)
                assert type(pilot.app.screen).__name__ == "TooSmallScreen", (width, height)
                if width * height > 200:
                    said = " ".join(" ".join(lines_of(pilot)).split())
                    assert f"{NEEDED.width}×{NEEDED.height}" in said, (width, height, said)
            await pilot.resize_terminal(80, 24)
            await settle(pilot)
            assert lines_of(pilot) == before

"""Every screen as it was when somebody last looked at it, at three sizes, dark and light, and whole at every size.

A snapshot is text: the characters, and below them how each run of cells is drawn, so that a diff shows a change. An
SVG of the same, as pytest-textual-snapshot stores it, is forty times as long and says no more; that plugin does not
run with pytest 9 either, as it is bound to syrupy 4.8.0. `pytest tests/tui/screens/test_screens.py --long
--snapshot-update` takes the screens as they are now; without `--long` it looks at few of the light ones.

Each scene is played once for each theme: the running app is resized.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from _pytest.mark import ParameterSet
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual import geometry
from textual.screen import ModalScreen

from scripts import screenshots
from scripts.scenes import SCENES, AppPilot, Picture, Size, lines_of, picture, play, settle, stage
from tests.support.layout import layout_mistakes
from tests.support.processes import ROOT
from tui.screens.dialogs.too_small import fits, min_size
from tui.settings.themes import CONTRAST, DARK, LIGHT

pytestmark = pytest.mark.painted

SIZES = [(80, 24), (120, 36), (200, 60)]
IN_CONTRAST = ("rounds", "live", "form")
# Smallest, largest, and either side of each width at which a screen is arranged in another way: 100, 120 and 150.
EDGES = [(80, 22), (240, 70), (240, 22), (80, 70), (99, 31), (100, 22), (119, 45), (149, 24), (150, 31)]
EDGES_BELOW = [(60, 16), (60, 60), (79, 22), (80, 21)]  # for the screens that are shown there
EDGES_OF_A_DIALOG = [*EDGES[:2], *EDGES_BELOW[:1]]  # the screen beneath it is another scene
SMALLER = [(40, 12), (20, 5), (200, 10), (30, 60), (3, 2), (1, 1)]
FROM_THE_START = ("welcome", "filter", "form", "remarks", "lineage", "live")
LETTERS = string.ascii_letters + string.digits


class ScreenFile(SingleFileSnapshotExtension):
    """One text file for each screen, size and theme."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    def serialize(self, data: Any, **_: Any) -> str:
        return str(data)


@pytest.fixture
def snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(ScreenFile)


def written(drawn: Picture) -> str:
    """Return a screen as text: its characters, the styles by letters, and the runs of cells of each line."""
    names = list(dict.fromkeys(name for line in drawn.styles for _, name in line))
    letters = dict(zip(names, LETTERS, strict=False))
    assert len(letters) == len(names), "too many styles for one screen"
    legend = [f"{letter} {name}" for name, letter in letters.items()]
    rows = [" ".join(f"{letters[name]}{cells}" for cells, name in line) for line in drawn.styles]
    return "\n\n".join("\n".join(part) for part in ([line.rstrip() for line in drawn.lines], legend, _counted(rows)))


def _counted(rows: list[str]) -> Iterator[str]:
    """Yield rows with their numbers, without those that are equal to the one before."""
    for number, row in enumerate(rows):
        if not number or row != rows[number - 1]:
            yield f"{number + 1}: {row}"


class Looks(NamedTuple):
    """What the play of a scene in a theme showed."""

    pictures: dict[Size, Picture]
    mistakes: list[str]  # of the layout, at the sizes of the pictures
    svgs: list[str]  # one of a scene that docs/ show, else none


class Album:
    """The looks of the scenes in the dark theme, each played when a test first asks for it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._dark: dict[str, Looks] = {}

    def directory_of(self, name: str) -> Path:
        directory = self._directory / ("empty" if SCENES[name].empty else "sample")
        directory.mkdir(exist_ok=True)
        return directory

    async def looks_of(self, name: str) -> Looks:
        if name not in self._dark:
            self._dark[name] = await self.play(name, DARK.name)
        return self._dark[name]

    async def play(self, name: str, theme: str) -> Looks:
        directory = self.directory_of(name)
        with stage(directory):
            async with play(SCENES[name], directory, SIZES[0], theme) as pilot:
                return await look_at(pilot, name)


async def look_at(pilot: AppPilot, name: str) -> Looks:
    """Draw a scene at each size and check its layout; in the dark theme, draw it for docs/ too."""
    looks = Looks({}, [], [])
    for size in SIZES:
        await pilot.resize_terminal(*size)
        await settle(pilot, SCENES[name].shows)
        looks.pictures[size] = picture(pilot)
        looks.mistakes.extend(await layout_mistakes(pilot, *size))
    if pilot.app.theme == DARK.name and name in screenshots.SHOWN:
        await pilot.resize_terminal(*screenshots.SIZE)
        looks.svgs.append(await screenshots.svg_of(pilot, SCENES[name]))
    return looks


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return Album(tmp_path_factory.mktemp("scenes"))


def of_scene(name: str) -> ParameterSet:
    """Keep the tests of a scene in one process, which plays it once."""
    return pytest.param(name, marks=pytest.mark.xdist_group(f"scene {name}"))


@pytest.mark.parametrize("name", [of_scene(name) for name in SCENES])
async def test_screen_is_as_it_was(name: str, album: Album, snapshot: SnapshotAssertion) -> None:
    assert_as_before(await album.looks_of(name), snapshot)


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("name", "theme"), [*((name, LIGHT.name) for name in SCENES), *((name, CONTRAST.name) for name in IN_CONTRAST)]
)
async def test_colours_are_as_they_were(name: str, theme: str, album: Album, snapshot: SnapshotAssertion) -> None:
    assert_as_before(await album.play(name, theme), snapshot)


def assert_as_before(looks: Looks, snapshot: SnapshotAssertion) -> None:
    for size, drawn in looks.pictures.items():
        width, height = size
        assert written(drawn) == snapshot(name=f"{width}x{height}")


@pytest.mark.parametrize("name", [of_scene(name) for name in SCENES])
async def test_screen_is_whole(name: str, album: Album) -> None:
    assert (await album.looks_of(name)).mistakes == []


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", SCENES)
async def test_screen_is_whole_where_it_is_arranged_in_another_way(name: str, album: Album) -> None:
    directory = album.directory_of(name)
    with stage(directory):
        async with play(SCENES[name], directory, SIZES[0]) as pilot:
            screen = pilot.app.screen
            for size in EDGES_OF_A_DIALOG if isinstance(screen, ModalScreen) else [*EDGES, *EDGES_BELOW]:
                if fits(screen, geometry.Size(*size)):
                    await pilot.resize_terminal(*size)
                    assert await layout_mistakes(pilot, *size) == [], size


@pytest.mark.parametrize("name", [of_scene(name) for name in screenshots.SHOWN])
async def test_screen_in_docs_is_what_the_app_shows(name: str, album: Album) -> None:
    """As `make screenshots` draws it where the size at which the app starts matters."""
    svgs = [*(await screenshots.draw([name])).values()] if name in FROM_THE_START else (await album.looks_of(name)).svgs
    assert [(ROOT / "docs" / f"{name}.svg").read_text()] == svgs, "run `make screenshots`"


def test_docs_hold_no_other_screens() -> None:
    assert {path.stem for path in (ROOT / "docs").glob("*.svg")} == set(screenshots.SHOWN)


@pytest.mark.parametrize("name", ["rounds", "form", "help"])
async def test_smaller_terminal_says_which_size_is_needed(name: str, album: Album) -> None:
    directory = album.directory_of(name)
    with stage(directory):
        async with play(SCENES[name], directory, (80, 24)) as pilot:
            before = lines_of(pilot)
            least = min_size(pilot.app.screen)
            for width, height in [(least.width - 1, 24), (80, least.height - 1), *SMALLER]:
                await pilot.resize_terminal(width, height)
                assert type(pilot.app.screen).__name__ == "TooSmallScreen", (width, height)
                if width * height > 200:
                    text = " ".join(" ".join(lines_of(pilot)).split())
                    assert f"{least.width}×{least.height}" in text, (width, height, text)
            await pilot.resize_terminal(80, 24)
            await settle(pilot)
            assert lines_of(pilot) == before

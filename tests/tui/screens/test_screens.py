"""Every screen as it was when somebody last looked at it, at three sizes, dark and light.

What is kept is text: the characters, and below them how each run of cells is drawn, so that a change can be read in a
diff. An SVG of the same, as pytest-textual-snapshot keeps it, is forty times as long and says no more; that plugin does
not run with pytest 9 either, as it is bound to syrupy 4.8.0. `pytest tests/tui/screens/test_screens.py
--snapshot-update` takes the screens as they are now, which is for when they are meant to be so.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from scripts.scenes import SCENES, Picture, picture, play, settle, stage
from tui.settings.themes import CONTRAST, DARK, LIGHT

SIZES = [(80, 24), (120, 36), (200, 60)]
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


@pytest.fixture(scope="module")
def sample_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sample workspace lies, or will."""
    return tmp_path_factory.mktemp("scenes")


def written(drawn: Picture) -> str:
    """A screen as it is kept: its characters, the styles by letters, and of each line the runs of cells."""
    names = list(dict.fromkeys(name for line in drawn.styles for _, name in line))
    letters = dict(zip(names, LETTERS, strict=False))
    assert len(letters) == len(names), "too many styles for one screen"
    legend = [f"{letter} {name}" for name, letter in letters.items()]
    rows = [" ".join(f"{letters[name]}{cells}" for cells, name in line) for line in drawn.styles]
    return "\n\n".join("\n".join(part) for part in ([line.rstrip() for line in drawn.lines], legend, _counted(rows)))


def _counted(rows: list[str]) -> Iterator[str]:
    """Rows with their numbers; those that are like the one before are left out."""
    for number, row in enumerate(rows):
        if not number or row != rows[number - 1]:
            yield f"{number + 1}: {row}"


LOOKS = [
    *((name, theme) for name in SCENES for theme in (DARK.name, LIGHT.name)),
    *((name, CONTRAST.name) for name in ("rounds", "live", "form")),
]


@pytest.mark.parametrize(("name", "theme"), LOOKS)
async def test_screen_is_as_it_was(name: str, theme: str, sample_directory: Path, snapshot: SnapshotAssertion) -> None:
    directory = sample_directory / ("empty" if SCENES[name].empty else "sample")
    directory.mkdir(exist_ok=True)
    pictures = {}
    with stage(directory):
        async with play(SCENES[name], directory, SIZES[0], theme) as pilot:
            for size in SIZES:
                await pilot.resize_terminal(*size)
                await settle(pilot, SCENES[name].shows)
                pictures[size] = picture(pilot)
    for (width, height), drawn in pictures.items():
        assert written(drawn) == snapshot(name=f"{width}x{height}")

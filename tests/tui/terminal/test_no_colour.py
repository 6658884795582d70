"""NO_COLOR (https://no-color.org): no colour reaches the terminal, and what is chosen can be seen all the same."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from engine.files.paths import Workspace
from tests.support.terminal import ESCAPE, Terminal
from tui.terminal.filters import NoColours

LORATUI = str(Path(sys.executable).with_name("loratui"))
SGR = re.compile(rb"\x1b\[([0-9;]*)m")


def is_colour(code: int) -> bool:
    return 30 <= code <= 38 or 40 <= code <= 48 or 90 <= code <= 107


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (Style(color="#ff0000", bgcolor="#101010", bold=True), Style(bold=True, reverse=False)),
        (Style(color="#000000", bgcolor="#ffffff"), Style(reverse=True)),
        (Style(color="#ffffff", bgcolor="#000000", reverse=True), Style(reverse=True)),
        (Style(color="default", bgcolor="default", dim=True), Style(dim=True, reverse=False)),
    ],
)
def test_colours_go_and_bright_ground_is_reversed(style: Style, expected: Style) -> None:
    (segment,) = NoColours().apply([Segment("x", style)], Color.parse("#000000"))
    assert segment.style == Style(color="default", bgcolor="default") + expected


def lacks(words: str, screen: str) -> bool:
    return words not in screen


def test_terminal_is_sent_no_colour(reference_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal([LORATUI, "--readonly"], reference_workspace.root) as terminal:
        terminal.wait_for("5 rounds")
        row = next(y for y, line in enumerate(terminal.text.splitlines()) if line.split()[:1] == ["5"])
        assert all(terminal.reversed(row)), "the row under the cursor"
        assert not any(terminal.reversed(row - 1))
        for key, words in (("?", "esc close"), ("y", "enter copy"), ("u", "Nothing runs")):
            terminal.type(key)
            terminal.wait_for(words)
            terminal.type(ESCAPE)
            terminal.wait_until(partial(lacks, words), f"the end of {words!r}")
        terminal.type("q")
        terminal.wait_for_end()
    codes = {int(code) for codes in SGR.findall(terminal.written) for code in codes.split(b";") if code}
    assert codes and not any(map(is_colour, codes))

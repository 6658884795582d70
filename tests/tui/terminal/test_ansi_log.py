"""The resolver against pyte, a whole terminal emulator, and by hand where a log is to differ from a screen."""

from __future__ import annotations

import io

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress

from tui.terminal.ansi_log import KEPT_CHARACTERS, KEPT_LINES, LINE_CHARACTERS, REACH, TerminalLines


def lines_of(*chunks: str) -> list[str]:
    lines = TerminalLines()
    for chunk in chunks:
        lines.feed(chunk)
    return lines.lines


def by_pyte(text: str) -> list[str]:
    """What stands on a screen that is large enough for all of it."""
    screen = pyte.Screen(400, 200)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def trimmed(lines: list[str]) -> list[str]:
    lines = [line.rstrip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines


MOVES = st.sampled_from(
    [
        "\r", "\n", "\b", "\t", "\x1b[A", "\x1b[2A", "\x1b[K", "\x1b[1K", "\x1b[2K", "\x1b[J", "\x1b[3C", "\x1b[2D",
        "\x1b[F", "\x1b[5G", "\x1b[31m", "\x1b[0m", "\x1b]0;title\x07", "\x1b(B", "\x1b[?25l",
    ]
)  # fmt: skip
PIECES = st.lists(st.one_of(st.text("abc #|", min_size=1, max_size=9), MOVES), max_size=25)


@given(PIECES, st.integers(1, 7))
def test_lines_are_those_a_terminal_shows(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    assert trimmed(lines_of(text)) == by_pyte(text)
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert lines_of(*chunks) == lines_of(text)


def test_bar_is_shown_as_it_stands_now() -> None:
    assert lines_of("loading\n", "\r  0%|     |", "\r 50%|##   |") == ["loading", " 50%|##   |"]
    assert lines_of("\r 50%|##   |", "\r100%|#####|\ndone\n") == ["100%|#####|", "done", ""]


def test_nested_bars_as_tqdm_writes_them() -> None:
    outer, inner = "epochs:  50%|##", "steps: 100%|####"
    text = f"\repochs:   0%|\n\rsteps:   0%|\x1b[A\n\r{inner}\x1b[A\r{outer}\n\n"
    assert trimmed(lines_of(text)) == [outer, inner]


def test_bars_as_rich_writes_them() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, legacy_windows=False)
    with Progress(console=console, auto_refresh=False) as progress:
        tasks = [progress.add_task(name, total=4) for name in ("download", "tokenise")]
        for _ in range(4):
            for task in tasks:
                progress.advance(task)
            progress.refresh()
        console.print("a word between")
    assert trimmed(lines_of(out.getvalue())) == by_pyte(out.getvalue())
    assert [line.split()[0] for line in trimmed(lines_of(out.getvalue()))] == ["a", "download", "tokenise"]


def test_log_is_not_wiped_by_what_clears_a_screen() -> None:
    assert lines_of("kept\n", "\x1b[2J\x1b[H\x1b[3Jtext") == ["kept", "text"]


def test_cursor_goes_back_so_far_and_no_further() -> None:
    numbered = "".join(f"{number}\n" for number in range(REACH * 3))
    lines = lines_of(numbered, f"\x1b[{10 * REACH}Ahere")
    assert lines.index("here") == len(lines) - REACH
    assert lines[0] == "0"


def test_line_of_a_megabyte_is_cut_and_says_so() -> None:
    (line,) = lines_of("x" * 1_000_000)
    assert line == "x" * LINE_CHARACTERS + f" … {1_000_000 - LINE_CHARACTERS:,} more characters"


@pytest.mark.parametrize("garbage", ["\x00" * 3_000_000, "\x1b" * 1_000_000, "\x1b]" * 500_000, "\x1b[" + "9" * 10**6])
def test_garbage_is_bounded_and_harmless(garbage: str) -> None:
    lines = TerminalLines()
    for start in range(0, len(garbage), 65536):
        lines.feed(garbage[start : start + 65536])
    assert sum(map(len, lines.lines)) < KEPT_CHARACTERS
    assert all(line.isprintable() for line in lines.lines)
    assert len(lines._unfinished) < 2 * LINE_CHARACTERS + 65536


def test_old_lines_go_and_are_counted() -> None:
    lines = TerminalLines()
    for number in range(3 * KEPT_LINES):
        first = lines.feed(f"line {number}\n")
        assert lines.lines[first].startswith(f"line {number}") and len(lines.lines) <= KEPT_LINES
    assert lines.lines[0] == f"line {lines.dropped}"
    assert lines.lines[-2] == f"line {3 * KEPT_LINES - 1}"


def test_long_lines_go_sooner() -> None:
    lines = TerminalLines()
    for _ in range(2000):
        lines.feed("y" * LINE_CHARACTERS + "\n")
        assert sum(map(len, lines.lines)) <= KEPT_CHARACTERS
    assert lines.dropped > 0


def test_first_change_is_told() -> None:
    lines = TerminalLines()
    assert lines.feed("a\nb\nc\n") == 0
    assert lines.feed("d\n") == 3
    assert lines.feed("\x1b[2Ax") == 2
    assert lines.lines == ["a", "b", "x", "d", ""]

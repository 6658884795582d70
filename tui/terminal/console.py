"""Print text safely: everything that reaches the terminal passes `clean` first, in an encoding that it has."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from engine.errors import FileError, reason_of
from engine.text.sanitize import clean, clean_line, escape_beyond_ascii

__all__ = [
    "CELL_BY_CELL", "PlainConsole", "clean", "clean_line", "flush_output", "has_characters_of", "open_outputs", "say",
    "say_json",
]  # fmt: skip

PIPE_CELLS = 10_000
IN_WORDS, CELL_BY_CELL = "loratui.in-words", "loratui.cell-by-cell"  # how an encoder spells what its encoding lacks
SPELLING = {
    "…": "...", "×": "x", "÷": "/", "·": ".", "•": "*", "●": "*", "○": "o", "–": "-", "—": "-", "−": "-", "±": "+-",
    "→": "->", "←": "<-", "↑": "^", "↓": "v", "▲": "^", "▼": "v", "▶": ">", "◀": "<", "≤": "<=", "≥": ">=", "≠": "!=",
    "≈": "~", "≁": "!~", "✓": "ok", "✗": "x", "⟦": "[[", "⟧": "]]", "‘": "'", "’": "'", "“": '"', "”": '"', "⠀": " ",
    "«": "<<", "»": ">>", "∞": "inf", "Δ": "d", "★": "*", "⏎": "Enter",
}  # fmt: skip


def _spell(character: str) -> str:
    """Return ASCII text for a character: its entry above, its letters without their marks, or a ? ."""
    if spelled := SPELLING.get(character):
        return spelled
    name = unicodedata.name(character, "")
    if name.startswith("BOX DRAWINGS"):
        return "-" if character in "─━┄┅┈┉╌╍═╴╶╸╺╼╾" else "|" if character in "│┃┆┇┊┋╎╏║╵╷╹╻╽╿" else "+"
    if "BLOCK" in name or "SHADE" in name:
        return "#"
    if name.startswith("BRAILLE PATTERN"):
        return "*"
    plain = (
        unicodedata.normalize("NFKD", character).replace("\N{FRACTION SLASH}", "/").encode("ascii", "ignore").decode()
    )
    return plain or ("" if unicodedata.combining(character) else "?")


def _in_words(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_spell, error.object[error.start : error.end])), error.end


def _cell_by_cell(error: UnicodeError) -> tuple[str, int]:
    """Spell in as many cells as the character has, so that what follows on the screen stays in its place."""
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(set_cell_size(_spell(character), cell_len(character)) for character in missing), error.end


codecs.register_error(IN_WORDS, _in_words)
codecs.register_error(CELL_BY_CELL, _cell_by_cell)


def has_characters_of(text: str) -> bool:
    """Return True if the terminal's encoding has all characters of `text`."""
    try:
        text.encode(getattr(sys.__stderr__, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def open_outputs() -> None:
    """Prepare the standard streams: what is closed leads to /dev/null, and no character is beyond their encoding.

    Raises:
        FileError: the standard output is closed, so a command would do its work and its answer would be lost.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # or the next file would get the number of a stream
        pass
    os.close(descriptor)
    closed = sys.stdout is None
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115, it lives as long as the process
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=IN_WORDS)
    if closed:
        raise FileError("the standard output is closed: redirect it to /dev/null if nobody reads it")


def flush_output() -> None:
    """Write what has been printed; raises as `say` does."""
    with _writing(sys.stdout):
        sys.stdout.flush()


@contextmanager
def _writing(stream: TextIO) -> Iterator[None]:
    """Give a stream up that cannot be written, and say so unless it is the standard error."""
    try:
        yield
    except OSError as error:
        with suppress(OSError, ValueError):  # a stream that is no file has no number
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or the end of the process would try again
        if stream is sys.stderr:
            return
        if isinstance(error, BrokenPipeError):
            raise
        raise FileError(f"the standard output cannot be written: {reason_of(error)}") from error


def say(text: str, *, error: bool = False, end: str = "\n") -> None:
    """Print `text`, cleaned, to the standard output or the standard error.

    Raises:
        FileError: the standard output cannot be written.
        BrokenPipeError: nobody reads it any more.
    """
    stream = sys.stderr if error else sys.stdout
    with _writing(stream):
        print(clean(text), end=end, file=stream)


def say_json(document: str, *, end: str = "\n") -> None:
    """Print a JSON document, whose values stay the same in an encoding that lacks their characters."""
    try:
        document.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        document = escape_beyond_ascii(document)
    say(document, end=end)


class PlainConsole(Console):
    """Rich's console without markup and without the control characters in a renderable's text.

    If the output is not a terminal, lines are never wrapped, so that programs can read them.
    """

    def __init__(self, *, error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        super().__init__(
            stderr=error, highlight=False, markup=False, emoji=False, width=None if stream.isatty() else PIPE_CELLS
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as Rich does, and clean the text of each segment; Rich's own control codes stay."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else clean(text), style, control)

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print as Rich does; raises as `say` does."""
        with _writing(sys.stderr if self.stderr else sys.stdout):
            super().print(*objects, **settings)

    def on_broken_pipe(self) -> None:
        """Let `BrokenPipeError` reach the caller, where Rich would end the process."""
        raise

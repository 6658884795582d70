"""Lines as a terminal would show them, from text that moves the cursor, such as a log with progress bars.

The number of lines, their length and how far back the cursor goes are bounded. A full emulation (pyte) cuts lines at a
fixed width, keeps a screen instead of a log, and is ten times as slow; here lines have no fixed width.
"""

from __future__ import annotations

import re

from tui.terminal.console import clean

KEPT_LINES = 5000
KEPT_CHARACTERS = 2 * 1024 * 1024
LINE_CHARACTERS = 4096
REACH = 64  # lines that the cursor can go back
TAB = 8
STRING = r"[^\x07\x1b]{0,4096}"  # the text of an operating system command or a similar string
SEQUENCE = re.compile(
    rf"\x1b\[(?P<numbers>[0-?]{{0,32}})[ -/]?(?P<command>[@-~])|\x1b\]{STRING}(?:\x07|\x1b\\)|\x1b[PX^_]{STRING}\x1b\\"
    r"|\x1b[ -/]?[0-OQ-WYZ\\`-~]|[\r\b\t]|\x1b|[^\r\b\t\x1b]+"
)
UNFINISHED = re.compile(rf"\x1b(?:\[[0-?]{{0,32}}[ -/]?|[\]PX^_]{STRING}\x1b?|[ -/]?)\Z")


class TerminalLines:
    """The lines of a text that arrives in parts.

    Attributes:
        lines: the last lines, safe for a terminal; the last one may grow.
        dropped: number of lines before them that were forgotten.
    """

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self.dropped = 0
        self._rows: list[_Row] = [_Row()]  # the last lines, which can still change
        self._settled = 1  # how many of them `lines` already holds
        self._row = 0
        self._column = 0
        self._unfinished = ""
        self._touched = 0  # the first of `_rows` that has changed
        self._characters = 0

    def feed(self, text: str) -> int:
        """Add `text`, drop old lines if needed, and return the index in `lines` of the first changed line."""
        parts = (self._unfinished + text).split("\n")
        self._unfinished = ""
        if (cut := UNFINISHED.search(parts[-1])) is not None:
            parts[-1], self._unfinished = parts[-1][: cut.start()], parts[-1][cut.start() :]
        self._touched = len(self._rows)
        first = len(self.lines)
        for index, part in enumerate(parts):
            if index:
                self._new_line()
            if part:
                self._take(part)
            if len(self._rows) > 2 * REACH:
                first = min(first, self._settle(REACH))
        first = min(first, self._settle(REACH))
        return max(0, first - self._drop())

    def _take(self, part: str) -> None:
        if part.isprintable():
            self._write(part)
            return
        for match in SEQUENCE.finditer(part):
            token = match.group()
            if (command := match["command"]) is not None:
                self._obey(command, match["numbers"])
            elif token == "\r":
                self._column = 0
            elif token == "\b":
                self._column = max(0, self._column - 1)
            elif token == "\t":
                self._column = min(LINE_CHARACTERS, (self._column // TAB + 1) * TAB)
            elif token[0] != "\x1b" or token == "\x1b":
                self._write(token)

    def _write(self, text: str) -> None:
        self._rows[self._row].write(self._column, text)
        self._column = min(LINE_CHARACTERS, self._column + len(text))
        self._touched = min(self._touched, self._row)

    def _new_line(self) -> None:
        self._column = 0
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append(_Row())
            self._touched = min(self._touched, self._row)

    def _obey(self, command: str, numbers: str) -> None:
        """Execute a control sequence of ECMA-48; absolute cursor positions and colours are ignored."""
        number = int(numbers[:6]) if numbers[:6].isdecimal() else None
        count = number or 1
        if command in "AF":
            self._row = max(0, self._row - count)
        elif command in "BE":
            self._row = min(len(self._rows) - 1, self._row + count)
        elif command in "CD":
            self._column = min(LINE_CHARACTERS, max(0, self._column + (count if command == "C" else -count)))
        elif command in "G`":
            self._column = min(LINE_CHARACTERS, count - 1)
        elif command == "K":
            self._rows[self._row].erase(self._column, number or 0)
            self._touched = min(self._touched, self._row)
        elif command == "J" and not number:
            self._rows[self._row].erase(self._column, 0)
            for row in self._rows[self._row + 1 :]:
                row.erase(0, 2)
            self._touched = min(self._touched, self._row)
        if command in "EF":
            self._column = 0

    def _settle(self, reach: int) -> int:
        """Write the changed rows to `lines`, keep the last `reach` rows, and return the first changed line."""
        start = len(self.lines) - self._settled
        first = start + self._touched
        for index in range(self._touched, len(self._rows)):
            line = str(self._rows[index])
            if start + index < len(self.lines):
                self._characters += len(line) - len(self.lines[start + index])
                self.lines[start + index] = line
            else:
                self._characters += len(line)
                self.lines.append(line)
        passed = max(0, len(self._rows) - reach)
        del self._rows[:passed]
        self._row = max(0, self._row - passed)
        self._touched = self._settled = len(self._rows)
        return first

    def _drop(self) -> int:
        """Forget old lines if there are too many, down to nine tenths of the limit; return how many."""
        if len(self.lines) <= KEPT_LINES and self._characters <= KEPT_CHARACTERS:
            return 0
        number = max(0, len(self.lines) - KEPT_LINES * 9 // 10)
        remaining = self._characters - sum(map(len, self.lines[:number]))
        while remaining > KEPT_CHARACTERS * 9 // 10 and number < len(self.lines) - len(self._rows):
            remaining -= len(self.lines[number])
            number += 1
        del self.lines[:number]
        self._characters = remaining
        self.dropped += number
        return number


class _Row:
    """One line that can still change; each character takes one column, whatever its width."""

    def __init__(self) -> None:
        self._text = ""
        self._cut = 0  # characters past the longest line

    def write(self, column: int, text: str) -> None:
        room = LINE_CHARACTERS - column
        if len(text) > room:
            self._cut += len(text) - max(0, room)
            text = text[: max(0, room)]
        before = self._text[:column]
        self._text = before + " " * (column - len(before)) + text + self._text[column + len(text) :]

    def erase(self, column: int, which: int) -> None:
        """Erase to the end (`which` 0), to the beginning (1), or all (2)."""
        if which == 0:
            self._text = self._text[:column]
        elif which == 1:
            self._text = " " * min(column + 1, len(self._text)) + self._text[column + 1 :]
        elif which == 2:
            self._text = ""
        if which != 1:
            self._cut = 0

    def __str__(self) -> str:
        more = f" … {self._cut:,} more characters" if self._cut else ""
        return clean(self._text).rstrip() + more

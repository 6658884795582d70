"""What a terminal would show of a text that moves its cursor, such as a log with progress bars in it.

Bounded whatever is fed to it: in lines, in their length, in how far back the cursor goes. A full emulation (pyte) cuts
lines at a fixed width, keeps a screen instead of a log, and is ten times as slow; here a line is as long as it is.
"""

from __future__ import annotations

import re

from tui.terminal.console import clean

KEPT_LINES = 5000
KEPT_CHARACTERS = 2 * 1024 * 1024
LINE_CHARACTERS = 4096
REACH = 64  # lines that the cursor can go back
TAB = 8
STRING = r"[^\x07\x1b]{0,4096}"  # of an operating system command and its like
SEQUENCE = re.compile(
    rf"\x1b\[(?P<numbers>[0-?]{{0,32}})[ -/]?(?P<command>[@-~])|\x1b\]{STRING}(?:\x07|\x1b\\)|\x1b[PX^_]{STRING}\x1b\\"
    r"|\x1b[ -/]?[0-OQ-WYZ\\`-~]|[\r\b\t]|\x1b|[^\r\b\t\x1b]+"
)
UNFINISHED = re.compile(rf"\x1b(?:\[[0-?]{{0,32}}[ -/]?|[\]PX^_]{STRING}\x1b?|[ -/]?)\Z")


class TerminalLines:
    """Lines made of text as it comes.

    Attributes:
        lines: harmless to a terminal; the last may go on.
        dropped: how many lines before them there have been.
    """

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self.dropped = 0
        self._rows: list[_Row] = [_Row()]  # of the last lines, which can still change
        self._known = 1  # how many of them stand in `lines` already
        self._row = 0
        self._column = 0
        self._unfinished = ""
        self._touched = 0  # the first of `_rows` that has changed
        self._characters = 0

    def feed(self, text: str) -> int:
        """Take `text`; returns the index in `lines` of the first that changed, after old ones were dropped."""
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
        """A control sequence, as ECMA-48 has it; one that places the cursor on a screen, or colours, does nothing."""
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
        """Write the changed rows to `lines`, and let all but the last `reach` be; returns the first line changed."""
        start = len(self.lines) - self._known
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
        self._touched = self._known = len(self._rows)
        return first

    def _drop(self) -> int:
        """Forget old lines if there are too many, a tenth more than must be; returns how many."""
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
    """One line that can still change; a character takes a column, whatever its width."""

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
        """To the end (0), to the beginning (1), all (2)."""
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

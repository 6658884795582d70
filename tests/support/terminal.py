"""A real pseudo-terminal with a program on it: keys are typed, the screen is read as a person would read it."""

from __future__ import annotations

import os
import re
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pyte

PRIVATE_MODES = re.compile(rb"\x1b\[\?([\d;]+)([hl])")
ENTER, ESCAPE, DOWN, UP = "\r", "\x1b", "\x1b[B", "\x1b[A"


def ctrl(letter: str) -> str:
    """The control character of a letter."""
    return chr(ord(letter.upper()) - 64)


class Terminal:
    """Runs `command` on a terminal of `columns` × `rows`; a context manager that ends the program."""

    def __init__(self, command: Sequence[str], cwd: Path, columns: int = 80, rows: int = 24) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process: pexpect.spawn[bytes] = pexpect.spawn(
            command[0], list(command[1:]), cwd=str(cwd), env=environment, dimensions=(rows, columns), timeout=None
        )
        self.written = b""
        self._settings = termios.tcgetattr(self.process.child_fd)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close(force=True)

    @property
    def text(self) -> str:
        """What stands on the screen, line by line."""
        return "\n".join(self._screen.display)

    def reversed(self, row: int) -> list[bool]:
        """Which cells of a line have their colours exchanged."""
        cells = self._screen.buffer[row]
        return [cells[column].reverse for column in range(self._screen.columns)]

    def type(self, keys: str) -> None:
        self.process.send(keys)

    def read(self, seconds: float = 0.05) -> bool:
        """Take in what the program writes; False once it has closed the terminal."""
        try:
            data: bytes = self.process.read_nonblocking(65536, timeout=seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.written += data
        self._stream.feed(data)
        return True

    def read_all(self, quiet: float = 0.5) -> None:
        """Take in what the program writes until it has written nothing for `quiet` seconds."""
        written = -1
        while written < len(self.written):
            written = len(self.written)
            self.read(quiet)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, and the program a SIGWINCH."""
        self._screen.resize(max(1, rows), max(1, columns))
        self.process.setwinsize(rows, columns)

    def wipe(self) -> None:
        """Clear the screen, as another program may."""
        self._screen.reset()

    def hang_up(self) -> None:
        """Close the terminal under the program, as the end of an SSH connection does."""
        terminal: Any = self.process
        terminal.ptyproc.fileobj.close()
        terminal.ptyproc.closed = True

    def damage(self) -> list[str]:
        """What the program has left of a terminal that is not as it was: modes, keyboard, settings of the line."""
        modes: dict[bytes, bool] = {b"7": True, b"25": True}  # lines wrap, the cursor shows
        for numbers, letter in PRIVATE_MODES.findall(self.written):
            modes.update(dict.fromkeys(numbers.split(b";"), letter == b"h"))
        found = [f"mode {number.decode()}" for number, on in modes.items() if on is not (number in (b"7", b"25"))]
        if self.written.count(b"\x1b[>") != self.written.count(b"\x1b[<u"):
            found.append("kitty keyboard")
        if termios.tcgetattr(self.process.child_fd) != self._settings:
            found.append("line settings")
        return found

    def wait_for(self, *texts: str, seconds: float = 60.0) -> str:
        """The screen as soon as all `texts` stand on it; fails with the screen as it is when they do not."""
        return self.wait_until(lambda screen: all(text in screen for text in texts), f"all of {texts}", seconds)

    def wait_until(self, condition: Callable[[str], bool], what: str, seconds: float = 60.0) -> str:
        """The screen as soon as it meets `condition`; fails with the screen as it is when it does not."""
        deadline = time.monotonic() + seconds
        while not condition(self.text):
            if not self.read() or time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come within {seconds:.0f} s; the screen is\n{self.text}")
        return self.text

    def wait_for_end(self, seconds: float = 30.0) -> int:
        """The exit code of the program once it has ended."""
        deadline = time.monotonic() + seconds
        while self.read():
            assert time.monotonic() < deadline, f"still there after {seconds:.0f} s; the screen is\n{self.text}"
        self.process.wait()
        return int(self.process.exitstatus if self.process.exitstatus is not None else -1)

"""A real pseudo-terminal with a program on it: keys are typed, the screen is read as a person would read it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pexpect
import pyte

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

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close(force=True)

    @property
    def text(self) -> str:
        """What stands on the screen, line by line."""
        return "\n".join(self._screen.display)

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

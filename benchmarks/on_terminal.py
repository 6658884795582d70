"""A program on a pseudo-terminal, and what it costs the person at the other end of the line.

The screen is kept by pyte. A time ends when the bytes arrive: for pyte to read them may take longer than for the
program to write them. A key's delay is the time to the first change of any cell, so what changes by itself in that
moment counts as an answer too, with every program alike.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import pyte
from msgspec import Struct

from benchmarks.measuring import BenchmarkError

LOOK_SECONDS = 0.005
KEY_SECONDS = 2.0
BETWEEN_KEYS_SECONDS = 0.3
ANSWERS = {  # what a program may ask a terminal at its start, and waits for
    b"\x1b[6n": b"\x1b[1;1R",
    b"\x1b[c": b"\x1b[?62;22c",
    b"\x1b]10;?": b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\",
    b"\x1b]11;?": b"\x1b]11;rgb:0000/0000/0000\x1b\\",
}


class Watched(Struct, frozen=True):
    """What a program cost while nobody touched it.

    Attributes:
        bytes_per_second: written to the terminal.
        cpu_percent: of one core, of the program and all it started.
        resident_bytes: of these together, at the end.
    """

    bytes_per_second: float
    cpu_percent: float
    resident_bytes: int


class OnTerminal:
    """Runs a command on a terminal of its own; a context manager that ends it and what it started."""

    def __init__(
        self, command: Sequence[str], directory: Path, variables: Mapping[str, str], columns: int, rows: int
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.written = 0
        self.started = self._arrived = time.monotonic()
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            os.execvpe(command[0], list(command), {**variables, **terminal})
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._root = psutil.Process(self._pid)

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes()):
            try:
                process.kill()
            except psutil.Error:
                continue
        os.close(self._terminal)
        os.waitpid(self._pid, 0)

    @property
    def text(self) -> str:
        """What stands on the screen, line by line."""
        return "\n".join(self._screen.display)

    @property
    def seconds(self) -> float:
        """Since the program was started, up to now."""
        return time.monotonic() - self.started

    def read(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Take in what the program writes for so long, or until `enough`.

        Raises:
            BenchmarkError: it ended.
        """
        end = time.monotonic() + seconds
        done = enough()
        while not done and time.monotonic() < end:  # looking takes a processor that the program may need
            if not select.select([self._terminal], [], [], LOOK_SECONDS)[0]:
                continue
            try:
                data = os.read(self._terminal, 65536)
            except OSError:
                data = b""
            self._arrived = time.monotonic()
            if not data:
                raise BenchmarkError(f"the program ended; the screen is\n{self.text}")
            self.written += len(data)
            for question, answer in ANSWERS.items():
                if question in data:
                    os.write(self._terminal, answer)
            self._stream.feed(data)
            done = enough()

    def wait_for(self, text: str, seconds: float = 60.0) -> float:
        """Seconds from the program's start until `text` arrived on the screen; BenchmarkError if it never does."""
        self.read(seconds, lambda: text in self.text)
        if text not in self.text:
            raise BenchmarkError(f"{text!r} did not come within {seconds:.0f} s; the screen is\n{self.text}")
        return self._arrived - self.started

    def type(self, keys: str) -> None:
        """Press keys; what comes of it is read later."""
        os.write(self._terminal, keys.encode())

    def key_seconds(self, keys: Sequence[str], presses: int) -> list[float]:
        """Seconds from each press of `keys` in turn to the first change of the screen; unanswered ones are left out."""
        delays = []
        for number in range(presses):
            before, pressed = self._cells(), time.monotonic()
            self.type(keys[number % len(keys)])
            self.read(KEY_SECONDS, partial(self._differs_from, before))
            if self._cells() != before:
                delays.append(self._arrived - pressed)
            self.read(BETWEEN_KEYS_SECONDS)
        return delays

    def watch(self, seconds: float) -> Watched:
        """What it costs to leave it alone for so long."""
        written, spent, began = self.written, self._sum(_cpu_seconds), time.monotonic()
        self.read(seconds)
        elapsed = time.monotonic() - began
        return Watched(
            bytes_per_second=(self.written - written) / elapsed,
            cpu_percent=100 * (self._sum(_cpu_seconds) - spent) / elapsed,
            resident_bytes=round(self._sum(lambda process: process.memory_info().rss)),
        )

    def _cells(self) -> list[Any]:
        cursor = (self._screen.cursor.x, self._screen.cursor.y)
        return [cursor, *(dict(self._screen.buffer[y]) for y in range(self._screen.lines))]

    def _differs_from(self, cells: list[Any]) -> bool:
        return self._cells() != cells

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return []

    def _sum(self, figure: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in self._processes():
            try:
                total += figure(process)
            except psutil.Error:  # it has just ended
                continue
        return total


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)

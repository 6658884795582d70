"""Append to a run's `events.jsonl`, and follow it as it grows.

A line is whole once its newline is written: a torn last line is trimmed before the next append and left unread by the
tail. Every event is flushed at once and forced to disk every `FSYNC_SECONDS`.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from engine.files.atomic import open_nonblocking
from engine.files.paths import FILE_MODE, RunDir
from engine.runs.events import AnyEvent, Step, decode_event, encode_event, line_start
from engine.runs.step_columns import BlockWriter

FSYNC_SECONDS = 2.0
READ_BYTES = 256 * 1024  # which a processor's cache holds, and whose decoding keeps no other thread waiting
LONGEST_LINE = 4 * 1024 * 1024  # bytes


class EventWriter:
    """The only writer of one run's events. `clock` gives monotonic seconds.

    Raises:
        OSError: the file cannot be written, or what has its name is a link or no file.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._synced = clock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE)
        try:
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is not a file", str(path))
            _trim_torn_line(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._blocks = BlockWriter(RunDir(path.parent).steps, self._descriptor)

    def append(self, event: AnyEvent) -> None:
        """Write one event whole, or raise OSError if the disk refuses it; no part of it is then left."""
        line = encode_event(event)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            _trim_torn_line(self._descriptor)
            raise
        if isinstance(event, Step):
            self._blocks.take(line)
        if self._clock() - self._synced >= FSYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced = self._clock()

    def close(self) -> None:
        try:
            self.sync()
        finally:
            self._blocks.close()
            os.close(self._descriptor)


def _trim_torn_line(descriptor: int) -> None:
    """Cut off what follows the last newline, such as half a line or the zeros that a crash of the machine leaves."""
    size = tail_start = os.fstat(descriptor).st_size
    newline = -1
    while tail_start > 0 and newline < 0:
        end, tail_start = tail_start, max(0, tail_start - 65536)
        newline = os.pread(descriptor, end - tail_start, tail_start).rfind(b"\n")
    kept = tail_start + newline + 1
    if kept < size:
        os.ftruncate(descriptor, kept)


class LineTail:
    """Follows a file that grows: each `poll` gives the whole lines since the last, about `READ_BYTES` of them.

    A file that does not exist yet, or that shrank, is read from its beginning once it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0  # where the first line that is not read begins

    def read(self, until: int | None = None) -> bytes:
        """Whole new lines; an unfinished last one waits for its end. At `until` a line begins that is not read."""
        try:
            with open(self.path, "rb", opener=open_nonblocking) as file:
                if file.seek(0, os.SEEK_END) < self.offset:
                    self.offset = 0
                file.seek(self.offset)
                data = file.read(READ_BYTES if until is None else max(0, min(READ_BYTES, until - self.offset)))
                if len(data) == READ_BYTES and b"\n" not in data:
                    data += file.read(LONGEST_LINE - READ_BYTES)
        except FileNotFoundError:
            self.offset = 0
            return b""
        end = data.rfind(b"\n") + 1
        if not end and len(data) == LONGEST_LINE:  # no line of ours, pass over it
            end = len(data)
        self.offset += end
        return data[:end]

    def poll(self) -> list[bytes]:
        """As `read`, line by line, without their newlines."""
        return self.read().splitlines()


class EventTail:
    """Follows a run's events, or only those of `kinds`, and then without decoding the others."""

    def __init__(self, path: Path, kinds: tuple[type[AnyEvent], ...] = ()) -> None:
        self._lines = LineTail(path)
        self._starts = tuple(map(line_start, kinds)) or (b"",)

    def poll(self) -> list[AnyEvent]:
        """New events in order; lines that are no event are passed over. Empty when caught up."""
        events: list[AnyEvent] = []
        while lines := self._lines.poll():
            events.extend(events_of(line for line in lines if line.startswith(self._starts)))
        return events


def events_of(lines: Iterable[bytes]) -> Iterator[AnyEvent]:
    """The events that `lines` are; those that are none are passed over."""
    return (event for line in lines if (event := decode_event(line)) is not None)


def read_events(path: Path, *kinds: type[AnyEvent]) -> list[AnyEvent]:
    """The events of a run so far, only those of `kinds` if any are given; empty if it has none."""
    return EventTail(path, kinds).poll()

"""Append to a run's `events.jsonl`, and follow it as it grows.

A line is whole once its newline is written: a torn last line is cut off before the next append, and not read by the
tail. Every event is flushed at once and forced to disk every `FSYNC_SECONDS`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from engine.files.append import open_to_append
from engine.files.atomic import open_nonblocking
from engine.files.paths import RunDir
from engine.runs.events import AnyEvent, Step, decode_event, encode_event, line_start
from engine.runs.step_columns import BlockWriter

FSYNC_SECONDS = 2.0
READ_BYTES = 256 * 1024  # fits a processor's cache, and is decoded without blocking other threads for long
LONGEST_LINE = 4 * 1024 * 1024  # bytes


class EventWriter:
    """The only writer of one run's events. `clock` returns monotonic seconds.

    Raises:
        OSError: the file cannot be written, or is a link or not a regular file.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._synced = clock()
        self._descriptor = open_to_append(path)
        try:
            _trim_torn_line(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._blocks = BlockWriter(RunDir(path.parent).steps, self._descriptor)

    def append(self, event: AnyEvent) -> None:
        """Write one event whole; raises OSError if the disk refuses, and then leaves no part of it."""
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
    """Cut off everything after the last newline, such as half a line or the zeros that a machine's crash leaves."""
    size = tail_start = os.fstat(descriptor).st_size
    newline = -1
    while tail_start > 0 and newline < 0:
        end, tail_start = tail_start, max(0, tail_start - 65536)
        newline = os.pread(descriptor, end - tail_start, tail_start).rfind(b"\n")
    end_of_line = tail_start + newline + 1
    if end_of_line < size:
        os.ftruncate(descriptor, end_of_line)


class LineTail:
    """A reader of a file that grows: each `read` or `poll` returns the next whole lines, about `READ_BYTES` of them.

    A file that does not exist yet, or that shrank, is read from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0  # where the first unread line begins

    def read(self, until: int | None = None) -> bytes:
        """Return new whole lines up to the offset `until`, at which a line must begin."""
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
        if not end and len(data) == LONGEST_LINE:  # not a line of ours: skip it
            end = len(data)
        self.offset += end
        return data[:end]

    def poll(self) -> list[bytes]:
        """Return new whole lines one by one, without their newlines."""
        return self.read().splitlines()


class EventTail:
    """A reader of a run's events, or only of those of `kinds`, without decoding the others."""

    def __init__(self, path: Path, kinds: tuple[type[AnyEvent], ...] = ()) -> None:
        self._lines = LineTail(path)
        self._starts = tuple(map(line_start, kinds)) or (b"",)

    def poll(self) -> list[AnyEvent]:
        """Return the new events in order; lines that are not an event are skipped. Empty when caught up."""
        events: list[AnyEvent] = []
        while lines := self._lines.poll():
            events.extend(events_of(line for line in lines if line.startswith(self._starts)))
        return events


def events_of(lines: Iterable[bytes]) -> Iterator[AnyEvent]:
    """Decode lines as events; lines that are not an event are skipped."""
    return (event for line in lines if (event := decode_event(line)) is not None)


def read_events(path: Path, *kinds: type[AnyEvent]) -> list[AnyEvent]:
    """Return the events of a run so far, or only those of `kinds`; empty if it has none."""
    return EventTail(path, kinds).poll()

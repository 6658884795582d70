"""Append to a run's `events.jsonl`, and follow it as it grows.

A line is whole once its newline is written: a torn last line is trimmed before the next append and left unread by the
tail. Every event is flushed at once and forced to disk every `FSYNC_SECONDS`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from engine.events import AnyEvent, decode_event, encode_event, line_start

FSYNC_SECONDS = 2.0
READ_BYTES = 4 * 1024 * 1024


class EventWriter:
    """The only writer of one run's events. `clock` gives monotonic seconds."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._synced = clock()
        _trim_torn_line(path)
        self._file = path.open("ab")

    def append(self, event: AnyEvent) -> None:
        """Write one event; raises OSError if the disk refuses it."""
        self._file.write(encode_event(event))
        self._file.flush()
        if self._clock() - self._synced >= FSYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = self._clock()

    def close(self) -> None:
        self.sync()
        self._file.close()


def _trim_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        tail_start = size
        while tail_start > 0:
            chunk_start = max(0, tail_start - 65536)
            file.seek(chunk_start)
            newline = file.read(tail_start - chunk_start).rfind(b"\n")
            if newline >= 0:
                file.truncate(chunk_start + newline + 1)
                return
            tail_start = chunk_start
        file.truncate(0)


class LineTail:
    """Follows a file that grows: each `poll` gives the whole lines since the last, at most `READ_BYTES` of them.

    A file that does not exist yet, or that shrank, is read from its beginning once it is there.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._offset = offset

    def poll(self) -> list[bytes]:
        """Whole new lines without their newlines; an unfinished last line waits for its end."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                data = file.read(READ_BYTES)
        except FileNotFoundError:
            self._offset = 0
            return []
        end = data.rfind(b"\n") + 1
        if not end and len(data) == READ_BYTES:  # one line longer than a whole read: no line of ours, pass over it
            end = len(data)
        self._offset += end
        return data[:end].splitlines()


class EventTail:
    """Follows a run's events, or only those of `kinds`, and then without decoding the others."""

    def __init__(self, path: Path, kinds: tuple[type[AnyEvent], ...] = ()) -> None:
        self._lines = LineTail(path)
        self._starts = tuple(map(line_start, kinds)) or (b"",)

    def poll(self) -> list[AnyEvent]:
        """New events in order; lines that are no event are passed over. Empty when caught up."""
        events: list[AnyEvent] = []
        while lines := self._lines.poll():
            wanted = (line for line in lines if line.startswith(self._starts))
            events.extend(event for line in wanted if (event := decode_event(line)) is not None)
        return events


def read_events(path: Path, *kinds: type[AnyEvent]) -> list[AnyEvent]:
    """The events of a run so far, only those of `kinds` if any are given; empty if it has none."""
    return EventTail(path, kinds).poll()

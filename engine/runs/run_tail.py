"""Follow a run's events, with consecutive steps joined, since there may be a million of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from engine.files.paths import RunDir
from engine.runs.curve import Steps, read_steps
from engine.runs.event_log import LineTail, events_of
from engine.runs.events import AnyEvent, Step, line_start
from engine.runs.step_columns import Block, read_blocks

MUCH_BYTES = 1024 * 1024  # of unread log, from which on looking for blocks saves time
STEP = line_start(Step)
OTHERS = re.compile(rb"\n(?!" + re.escape(STEP) + rb")")  # where a line of another kind begins, or the text ends


class RunTail:
    """A reader of the events of one run."""

    def __init__(self, path: Path) -> None:
        self._lines = LineTail(path)

    def poll(self) -> list[AnyEvent | Steps]:
        """Return the new events in order; lines that are not an event are skipped. Empty when caught up."""
        news: list[AnyEvent | Steps] = []
        for block in self._blocks():
            _join(news, _read(self._lines, block.begin))
            if self._lines.offset != block.begin:  # the block does not start at a line, or the log shrank
                break
            _join(news, [block.steps])
            self._lines.offset = block.end
        _join(news, _read(self._lines))
        return news

    def _blocks(self) -> Iterator[Block]:
        """Yield blocks of steps that need not be parsed, if there is much to read."""
        path, offset = self._lines.path, self._lines.offset
        with suppress(OSError):
            if path.stat().st_size - offset >= MUCH_BYTES:
                yield from read_blocks(RunDir(path.parent).steps, path, offset)


def _read(tail: LineTail, until: int | None = None) -> Iterator[AnyEvent | Steps]:
    unbroken = True  # only steps so far: the next lines are likely to be steps as well, and are tried as such first
    while lines := tail.read(until):
        if unbroken and (steps := read_steps(lines)) is not None:
            yield steps
            continue
        parts = list(_parts(lines))
        unbroken = len(parts) == 1
        for are_steps, part in parts:
            yield from _steps_of(part) if are_steps else events_of([part])


def _parts(lines: bytes) -> Iterator[tuple[bool, bytes]]:
    """Split lines into (True, consecutive lines that look like steps) and (False, each other line)."""
    begin, others = 0, [] if lines.startswith(STEP) else [0]
    for other in (*others, *(match.end() for match in OTHERS.finditer(lines))):
        if other > begin:
            yield True, lines[begin:other]
        if other < len(lines):
            begin = lines.find(b"\n", other) + 1 or len(lines)
            yield False, lines[other:begin]


def _join(news: list[AnyEvent | Steps], more: Iterable[AnyEvent | Steps]) -> None:
    """Append `more` to `news`, and join steps that follow on steps."""
    for event in more:
        if isinstance(event, Steps) and news and isinstance(before := news[-1], Steps):
            before.go_on(event)
        else:
            news.append(event)


def _steps_of(lines: bytes) -> Iterator[AnyEvent | Steps]:
    """Read lines that look like steps; if any of them is damaged, read the others one by one."""
    steps = read_steps(lines)
    return iter([steps]) if steps is not None else events_of(lines.splitlines())

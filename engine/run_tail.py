"""Follow a run's events as `RunSnapshot` takes them: consecutive steps at once, as there may be a million.

Of a long run a second process, which is this module's `main`, reads the larger part meanwhile. It is asked by a `Rest`
in a line of JSON, and answers with a `RestRead`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.curve import Curve, Steps, read_steps
from engine.dialogue import Dialogue, Refusal
from engine.errors import LoratuiError
from engine.events import AnyEvent, Step, line_start
from engine.runlog import LineTail, events_of

LONG_BYTES = 64 * 1024 * 1024  # which take one process longer than a second one needs to begin
STEP = line_start(Step)
OTHERS = re.compile(rb"\n(?!" + re.escape(STEP) + rb")")  # where another line begins, or the last has ended


class Rest(Struct, frozen=True):
    """The lines of a file from `begin` on."""

    path: str
    begin: int


class PackedSteps(Struct, frozen=True, tag_field="event", tag="steps"):
    """`Steps` as JSON takes them."""

    columns: tuple[bytes, ...]
    epochs_per_step: float
    last: Step


class RestRead(Struct, frozen=True, tag="rest"):
    """What the lines of a `Rest` are; `end` is where the next one will begin."""

    news: tuple[AnyEvent | PackedSteps, ...]
    end: int


_answers = msgspec.json.Decoder(RestRead | Refusal)


class RunTail:
    """Follows the events of one run."""

    def __init__(self, path: Path) -> None:
        self._lines = LineTail(path)

    def poll(self) -> list[AnyEvent | Steps]:
        """New events in order; lines that are no event are passed over. Empty when caught up."""
        news: list[AnyEvent | Steps] = []
        with ExitStack() as until_read, suppress(LoratuiError):  # then there is more left to read here
            if (parting := self._parting()) is not None:
                reader = until_read.enter_context(Dialogue("engine.run_tail", "the second reader"))
                reader.send(Rest(str(self._lines.path), parting))
                _join(news, _read(self._lines, parting))
                rest = reader.receive(_answers)
                assert isinstance(rest, RestRead)
                _join(news, map(_unpacked, rest.news))
                self._lines.offset = rest.end
        _join(news, _read(self._lines))
        return news

    def _parting(self) -> int | None:
        """Where the second reader begins, with a line; None for little to read or one processor."""
        path, offset = self._lines.path, self._lines.offset
        size = path.stat().st_size if path.is_file() else 0
        if size - offset < LONG_BYTES or len(os.sched_getaffinity(0)) < 2:
            return None
        about = offset + (size - offset) * 2 // 5  # as this process has a screen to draw meanwhile
        first = LineTail(path, about).read().find(b"\n") + 1
        return about + first if first else None


def _read(tail: LineTail, until: int | None = None) -> Iterator[AnyEvent | Steps]:
    unbroken = True  # so far: the next lines are likely to be nothing but steps too, and nothing else is looked for
    while lines := tail.read(until):
        if unbroken and (steps := read_steps(lines)) is not None:
            yield steps
            continue
        parts = list(_parts(lines))
        unbroken = len(parts) == 1
        for are_steps, part in parts:
            yield from _steps_of(part) if are_steps else events_of([part])


def _parts(lines: bytes) -> Iterator[tuple[bool, bytes]]:
    """Runs of lines that begin as steps do, and each line between them that does not."""
    begin, others = 0, [] if lines.startswith(STEP) else [0]
    for other in (*others, *(match.end() for match in OTHERS.finditer(lines))):
        if other > begin:
            yield True, lines[begin:other]
        if other < len(lines):
            begin = lines.find(b"\n", other) + 1 or len(lines)
            yield False, lines[other:begin]


def _join(news: list[AnyEvent | Steps], more: Iterable[AnyEvent | Steps]) -> None:
    """Put `more` behind `news`, steps that follow on steps into one."""
    for item in more:
        if isinstance(item, Steps) and news and isinstance(before := news[-1], Steps):
            before.go_on(item)
        else:
            news.append(item)


def _steps_of(lines: bytes) -> Iterator[AnyEvent | Steps]:
    """Lines that begin as steps do; if any of them is damaged, the others one by one."""
    steps = read_steps(lines)
    return iter([steps]) if steps is not None else events_of(lines.splitlines())


def _packed(item: AnyEvent | Steps) -> AnyEvent | PackedSteps:
    if not isinstance(item, Steps):
        return item
    columns = tuple(column.tobytes() for column in item.curve.columns())
    return PackedSteps(columns, item.curve.epochs_per_step, item.last)


def _unpacked(item: AnyEvent | PackedSteps) -> AnyEvent | Steps:
    if not isinstance(item, PackedSteps):
        return item
    curve = Curve()
    for column, content in zip(curve.columns(), item.columns, strict=True):
        column.frombytes(content)
    curve.epochs_per_step = item.epochs_per_step
    return Steps(curve, item.last)


def main() -> None:
    """Read the rest that the standard input asks for."""
    rest = msgspec.json.decode(sys.stdin.buffer.readline(), type=Rest)
    tail = LineTail(Path(rest.path), rest.begin)
    news: list[AnyEvent | Steps] = []
    _join(news, _read(tail))
    answer = RestRead(tuple(map(_packed, news)), tail.offset)
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")


if __name__ == "__main__":
    main()

"""What a contender leaves of its course: a mark, one JSON object per line of `marks.jsonl`, where a part of it ends.

What a step took is the distance to the mark before it, in seconds as in operations, so evaluations and checkpoints
are left out. This engine's events are read as marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Finished, Step

STEP = "step"
EVALUATED = "evaluated"


class Mark(Struct, frozen=True):
    """The end of a part.

    Attributes:
        kind: `STEP` after an optimizer step, `EVALUATED` after an evaluation, anything else for other parts.
        time: seconds since the epoch.
        flops: operations counted so far, 0 where they are not counted.
        peak_memory_bytes: highest allocation on the CUDA device so far, None where none is told.
    """

    kind: str
    time: float
    flops: int = 0
    peak_memory_bytes: int | None = None


def marks_file(run: RunDir) -> Path:
    return run.path / "marks.jsonl"


def read_marks(run: RunDir) -> list[Mark]:
    """The marks of a run: those it wrote, else its events."""
    file = marks_file(run)
    if file.exists():
        return [msgspec.json.decode(line, type=Mark) for line in file.read_bytes().splitlines()]
    return [mark_of(event) for event in read_events(run.events)]


def mark_of(event: AnyEvent, flops: int = 0) -> Mark:
    """This engine's event as a mark."""
    peak = None
    if isinstance(event, Step):
        peak = event.memory_bytes
    elif isinstance(event, Finished):
        peak = event.result.peak_memory_bytes
    return Mark(type(event).__name__.lower(), event.time, flops, peak)


def step_seconds(marks: Sequence[Mark]) -> list[float]:
    """Wall time of each step."""
    return [mark.time - before.time for before, mark in _steps(marks)]


def step_flops(marks: Sequence[Mark]) -> int:
    """Operations of all steps together."""
    return sum(mark.flops - before.flops for before, mark in _steps(marks))


def evaluated_seconds(marks: Sequence[Mark]) -> float:
    """Wall time from the beginning of the first step to the end of the last step or evaluation."""
    before, _ = _steps(marks)[0]
    return max(mark.time for mark in marks if mark.kind in (STEP, EVALUATED)) - before.time


def _steps(marks: Sequence[Mark]) -> list[tuple[Mark, Mark]]:
    return [(before, mark) for before, mark in pairwise(marks) if mark.kind == STEP]

"""The curves of some rounds as a picture, asked from a process that draws, so that matplotlib is imported nowhere else.

The process is `python -P -m engine.report.chart_process`: an `Order` goes in, a `Picture` comes out
(`engine.system.worker_process`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from engine.files.paths import Workspace
from engine.spec.round import Round
from engine.system.worker_process import Refusal, WorkerProcess
from engine.text.sanitize import clean_line

Format = Literal["svg", "png"]
FORMATS: tuple[Format, ...] = ("svg", "png")


class ChartRun(Struct, frozen=True):
    """A round's run to draw, by the name it has in the legend; `events` is the path of its log."""

    number: int
    label: str
    events: str


class ChartRequest(Struct, frozen=True):
    """What is to be drawn, and as which kind of file."""

    runs: tuple[ChartRun, ...]
    format: Format


class ChartFile(Struct, frozen=True, tag="picture"):
    """`data` is the file's content, empty if there is no curve at all; `curveless`, the places of runs without one."""

    data: bytes
    curveless: tuple[int, ...]


_answers = msgspec.json.Decoder(ChartFile | Refusal)


def draw(workspace: Workspace, rounds: Sequence[Round], format_: Format) -> ChartFile:
    """The curves of `rounds` over each other, a panel for each metric that was recorded.

    Raises:
        LoratuiError: the process could not be started, or ended without a picture.
    """
    runs = tuple(ChartRun(item.number, label_of(item), str(workspace.run_dir(item.id).events)) for item in rounds)
    with WorkerProcess("engine.report.chart_process", "the picture") as process:
        process.send(ChartRequest(runs, format_))
        picture: ChartFile = process.receive(_answers)
    return picture


def label_of(round_: Round) -> str:
    """A round in the legend: `round 2: half the rate`."""
    return f"round {round_.number}" + (f": {clean_line(round_.name)}" if round_.name.strip() else "")

"""Client of the process that draws the curves of rounds: it alone imports matplotlib.

The process is `python -P -m engine.report.chart_process`: it reads a `ChartRequest` and writes a `ChartFile`
(`engine.system.worker_process`).
"""

from __future__ import annotations

import os
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
    """A run to draw: its round's number, its name in the legend, and the path of its events, which may be no text."""

    number: int
    label: str
    events: bytes


class ChartRequest(Struct, frozen=True):
    """A request to draw runs as a file of the given format."""

    runs: tuple[ChartRun, ...]
    format: Format


class ChartFile(Struct, frozen=True, tag="picture"):
    """A drawn file: its content, empty if no run has a curve, and the indices of the runs without one."""

    data: bytes
    curveless: tuple[int, ...]


_answers = msgspec.json.Decoder(ChartFile | Refusal)


def draw(workspace: Workspace, rounds: Sequence[Round], format_: Format) -> ChartFile:
    """Draw the curves of `rounds` over each other, one panel for each recorded metric.

    Raises:
        LoratuiError: the process could not be started, or ended without a picture.
    """
    runs = tuple(
        ChartRun(round_.number, label_of(round_), os.fsencode(workspace.run_dir(round_.id).events)) for round_ in rounds
    )
    with WorkerProcess("engine.report.chart_process", "the picture") as process:
        process.send(ChartRequest(runs, format_))
        picture: ChartFile = process.receive(_answers)
    return picture


def label_of(round_: Round) -> str:
    """Return a round's name in the legend: `round 2: half the rate`."""
    return f"round {round_.number}" + (f": {clean_line(round_.name)}" if round_.name.strip() else "")

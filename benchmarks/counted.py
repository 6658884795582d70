"""Run a contender while its operations are counted: `python -m benchmarks.counted MODULE RUN_DIR [ARGUMENT ...]`.

Counting slows it down, so nothing is timed in such a run.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from unittest.mock import patch

import msgspec

from benchmarks.flops import counted, counter
from benchmarks.marks import mark_of, marks_file
from engine.files.paths import RunDir
from engine.runs.event_log import EventWriter
from engine.runs.events import AnyEvent


def mark_events(run: RunDir) -> None:
    """Have this engine leave beside each event a mark with the operations so far, which its events do not tell."""
    append = EventWriter.append

    def append_and_mark(writer: EventWriter, event: AnyEvent) -> None:
        append(writer, event)
        with marks_file(run).open("ab") as file:
            file.write(msgspec.json.encode(mark_of(event, counted())) + b"\n")

    patch.object(EventWriter, "append", append_and_mark).start()  # for as long as this process lives


def main() -> None:
    del sys.argv[0]
    mark_events(RunDir(Path(sys.argv[1])))
    with counter:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

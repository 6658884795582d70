"""The columns beside an event log whose writer is killed, and whose disk refuses them or fills up."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.runs.event_log import read_events
from engine.runs.events import Step
from engine.runs.run_tail import RunTail
from engine.runs.snapshot import RunSnapshot
from engine.runs.step_columns import read_blocks
from tests.support.disks import ENVIRONMENT, in_small_disk, needs_strace
from tests.support.faults.kills import killed_while_writing
from tests.support.faults.tried import Tried

Times = Callable[[int, int], int]

# Appends steps, in blocks of few, from the number it is given on, up to another; says each once it is written.
WRITER = """
import sys
from pathlib import Path
from engine.runs import step_columns
from engine.runs.event_log import EventWriter
from tests.support.steps import step
step_columns.BLOCK_BYTES, step_columns.FEWEST_STEPS = 4096, 3
writer = EventWriter(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    writer.append(step(number))
    print(number, flush=True)
writer.close()
"""


@pytest.fixture(autouse=True)
def blocks_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the log is."""
    monkeypatch.setattr("engine.runs.run_tail.MUCH_BYTES", 1)


def columns_of(log: Path) -> Path:
    return log.with_name("steps.bin")


def steps_of(log: Path) -> list[int]:
    """As the log alone has them."""
    return [event.step for event in read_events(log) if isinstance(event, Step)]


def is_as_its_log(log: Path) -> bool:
    alone = log.parent / "alone" / log.name
    alone.parent.mkdir(exist_ok=True)
    shutil.copyfile(log, alone)
    ours, others = RunSnapshot(RunTail(log).poll()), RunSnapshot(RunTail(alone).poll())
    return ours.last_step == others.last_step and ours.curve.packed() == others.curve.packed()


@pytest.mark.long
def test_writer_killed_at_any_moment_leaves_columns_of_its_log(tmp_path: Path, tried: Tried, times: Times) -> None:
    """And the next one goes on with them."""
    log, draw = tmp_path / "events.jsonl", random.Random(0)
    kills, lost = times(15, 200), 0
    for _ in range(kills):
        first = len(steps_of(log)) + 1
        killed_while_writing(draw, WRITER, log, first, 10**9)
        lost += not is_as_its_log(log)
    tried("F5", "kill -9 at a random moment of appending steps and their columns", kills, lost)
    assert lost == 0
    assert len(list(read_blocks(columns_of(log), log, 0))) > kills / 2


@needs_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT"])
def test_disk_that_refuses_the_columns_leaves_every_step(
    tmp_path: Path, tried: Tried, times: Times, error: str
) -> None:
    places, lost = range(1, times(3, 8) + 1), 0
    for place in places:
        log = tmp_path / str(place) / "events.jsonl"
        log.parent.mkdir()
        calls = f"inject=openat,pread64,ftruncate,fstat,write:error={error}:when={place}+"
        command = ["strace", "-f", "-P", str(columns_of(log)), "-e", calls, "-o", "/dev/null"]
        done = subprocess.run(
            [*command, sys.executable, "-P", "-c", WRITER, str(log), "1", "200"],
            env=ENVIRONMENT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert list(map(int, done.stdout.split())) == steps_of(log) == list(range(1, 200))
        lost += not is_as_its_log(log)
    tried("F21", "ENOSPC, EIO or EDQUOT at every call on the columns from one of them on", len(places), lost)
    assert lost == 0


def test_full_disk_leaves_what_was_told_and_columns_of_it(small_disk: Path, tmp_path: Path, tried: Tried) -> None:
    log = small_disk / "events.jsonl"
    done = in_small_disk(
        small_disk, 64, '"$1" -P -c "$2" "$3" 1 9999; cp "$3" "$4" "$5"',
        sys.executable, WRITER, str(log), str(columns_of(log)), str(tmp_path),
    )  # fmt: skip
    copy = tmp_path / log.name
    told = list(map(int, done.stdout.split()))
    tried("F5", "a disk that fills up with a log and its columns", 1, len(set(told) - set(steps_of(copy))))
    assert "No space left on device" in done.stderr
    assert steps_of(copy) == told and len(told) > 100
    assert list(read_blocks(columns_of(copy), copy, 0))
    assert is_as_its_log(copy)

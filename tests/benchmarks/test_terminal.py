"""What the benchmark of the terminal says is what a program did there."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.front_ends import Loratui, Run, written
from benchmarks.measuring import BenchmarkError
from benchmarks.on_terminal import OnTerminal
from benchmarks.terminal import CPU, IDLE_BYTES, MANY, OURS, RUN_KEY, START, verdicts, written_cell
from engine.files.paths import Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Evaluated, Step
from engine.spec.round import Status
from engine.store.round_store import RoundStore
from tests.support.processes import ROOT, is_running
from tests.support.waiting import await_true

ECHO = "stty raw -echo; printf ready; while :; do key=$(dd bs=1 count=1 2>/dev/null); [ $key = n ] || printf $key; done"


def on_terminal(directory: Path, command: str) -> OnTerminal:
    return OnTerminal(["sh", "-c", command], directory, os.environ, columns=40, rows=5)


def test_key_that_changes_the_screen_is_timed_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.on_terminal.KEY_SECONDS", 0.3)
    monkeypatch.setattr("benchmarks.on_terminal.BETWEEN_KEYS_SECONDS", 0.01)
    with on_terminal(tmp_path, ECHO) as terminal:
        assert terminal.wait_for("ready") > 0
        delays = terminal.key_seconds(["a", "n"], presses=4)
        assert terminal.text.startswith("readyaa")
    assert len(delays) == 2
    assert all(0 < delay < 0.3 for delay in delays)


def test_bytes_are_counted_as_they_are_written(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "printf 12345; read line; printf 678; exec sleep 100") as terminal:
        terminal.wait_for("12345")
        assert terminal.written == 5
        assert terminal.watch(0.1).bytes_per_second == 0
        assert terminal.watch(0.1).resident_bytes > 0


def test_program_that_ends_early_is_told(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "echo that is all") as terminal, pytest.raises(BenchmarkError, match="that is all"):
        terminal.wait_for("never said")


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "sleep 1000 & echo pid $!.; wait") as terminal:
        terminal.wait_for(".")
        child = psutil.Process(int(terminal.text.split()[1].rstrip(".")))
        assert is_running(child)
    await_true(lambda: not is_running(child), "the end of the child")


def test_run_is_written_whole_and_ends_finished(tmp_path: Path) -> None:
    front_end = Loratui(1, OURS)
    front_end.prepare(tmp_path, os.environ)
    with written(front_end, tmp_path, Run(600, 600), {**os.environ, "PYTHONPATH": str(ROOT)}) as ended:
        ended()
    workspace = Workspace(tmp_path)
    round_ = RoundStore(workspace).get(2)
    events = read_events(workspace.run_dir(round_.id).events)
    steps = [event for event in events if isinstance(event, Step)]
    assert round_.status is Status.FINISHED
    assert [step.step for step in steps] == list(range(1, 601))
    assert [event.step for event in events if isinstance(event, Evaluated)] == [0, 500]
    lines = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.step_lines", "--history", "600", "--steps", "600"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout.splitlines()  # fmt: skip
    assert [line.split('"loss":')[1].split(",")[0] for line in lines] == [repr(step.loss) for step in steps]
    assert all(step.loss is not None and math.isfinite(step.loss) for step in steps)


def test_time_ends_when_the_bytes_arrive_not_when_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.on_terminal.time.monotonic", lambda: now[0])
    monkeypatch.setattr("benchmarks.on_terminal.BETWEEN_KEYS_SECONDS", 0.0)
    with on_terminal(tmp_path, ECHO) as terminal:
        feed = terminal._stream.feed

        def slowly(data: bytes) -> None:
            feed(data)
            now[0] += 0.5

        monkeypatch.setattr(terminal._stream, "feed", slowly)
        assert terminal.wait_for("ready") == 0
        assert terminal.key_seconds(["a"], presses=2) == [0, 0]


def test_budget_is_met_by_the_median() -> None:
    figures = {(CPU, OURS): [2.0, 2.5, 9.0], (IDLE_BYTES, OURS): [0.0, 1.0, 2.0]}
    assert verdicts(figures) == [
        "- **not met**: loratui, idle bytes/s: 1, at most 0.",
        "- met: loratui, live CPU: 2.5 %, at most 3.0 %.",
    ]
    assert written_cell(figures, CPU, OURS) == "2.5 % (2.0 % to 9.0 %)"
    assert written_cell(figures, CPU, "LEET") == "–"


def test_start_is_judged_beside_a_peer_of_the_same_run_or_not_at_all() -> None:
    alone = {(START, OURS): [0.4], (START, MANY): [0.6]}
    assert verdicts(alone) == []
    assert verdicts({**alone, (START, "LEET"): [0.5, 0.5]}) == [
        "- met: loratui, start to a painted screen: 0.80 of LEET's, at most 0.85 of LEET's.",
        "- **not met**: loratui-10k, start to a painted screen: 1.20 of LEET's, at most 1.10 of LEET's.",
    ]


def test_worst_delay_of_a_key_is_shown_and_judged() -> None:
    figures = {(RUN_KEY, OURS): [0.008] * 99 + [0.060]}
    assert written_cell(figures, RUN_KEY, OURS) == "8.0, 8.5, 60.0 ms"
    assert verdicts(figures) == [
        "- met: loratui, key in the run, live: 8.0 ms, at most 10.0 ms.",
        "- **not met**: loratui, key in the run, live, worst: 60.0 ms, at most 50.0 ms.",
    ]

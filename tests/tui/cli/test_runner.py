"""The queue on the command line, with the times at which its rounds start."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from engine.api import Cockpit
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status
from tests.support.rounds import make_round, make_spec
from tui.cli.main import main

NOON = 1_795_003_200.0  # 18 November 2026, by `date -u -d @1795003200`
MINUTE = 60.0


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is noon in Greenwich, on a machine without a card."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("time.time", lambda: NOON)
    monkeypatch.setattr("engine.runner.queue_outlook.sample_gpus", lambda: ((), "no NVIDIA GPU"))
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def queued(idle_cockpit: Cockpit) -> Cockpit:
    """Round 1 took 40 minutes. Round 2 has trained for 10, then come 3, which is held, 4, 5 like no other, and 6."""
    plain, alone = make_spec(data__eval_fraction=0), make_spec(data__eval_fraction=0, lora__use_dora=True)
    plan = make_plan(plain, 100)
    done = Result(train_seconds=40 * MINUTE, step=plan.total_steps)
    rounds: list[dict[str, Any]] = [
        {"status": Status.FINISHED, "result": done, "started": NOON - 90 * MINUTE, "ended": NOON - 50 * MINUTE},
        {"status": Status.RUNNING, "started": NOON - 10 * MINUTE, "name": "long"},
        {"status": Status.HELD}, {"status": Status.QUEUED, "note": "why not"},
        {"status": Status.QUEUED, "spec": alone}, {"status": Status.QUEUED},
    ]  # fmt: skip
    usual: dict[str, Any] = {"spec": plain, "plan": plan}
    for number, fields in enumerate(rounds, 1):
        round_ = make_round(number, **(usual | {"turn": float(number)} | fields))
        idle_cockpit.store.add(partial(_unchanged, round_))
    return idle_cockpit


def _unchanged(round_: Round, number: int) -> Round:
    """Return the round for `RoundStore.add`; it has this number already."""
    return round_


@pytest.fixture
def at_work(queued: Cockpit) -> Iterator[Path]:
    """The workspace, while a runner has its lock."""
    queued.workspace.runs_dir.mkdir(exist_ok=True)
    with FileLock(queued.workspace.runner_lock):
        yield queued.workspace.root


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([*map(str, words)], lambda _: None) == 0
    return capsys.readouterr().out


def test_queue_says_when_each_round_starts(at_work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Round 2 ends at 12:30, and 4 at 13:10."""
    lines = [line.split() for line in printed(capsys, "queue", "--workspace", at_work).splitlines()]
    assert lines == [
        ["place", "#", "status", "name", "steps", "starts", "note"],
        ["now", "2", "running", "long", "12"],
        ["1", "3", "held", "12", "–"],
        ["2", "4", "queued", "12", "12:30", "why", "not"],
        ["3", "5", "queued", "12", "13:10"],
        ["4", "6", "queued", "12", "after", "round", "5"],
    ]


def test_queue_says_when_all_are_done(at_work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without 5, round 6 starts at 12:30, and 4 at 13:10. By a single round, they take 30 to 50 minutes each."""
    printed(capsys, "hold", "5", "--workspace", at_work)
    lines = printed(capsys, "move", "6", "1", "--workspace", at_work).splitlines()
    assert [line.split()[1:5] for line in lines[2:-1]] == [
        ["6", "queued", "12", "12:30"], ["3", "held", "12", "–"], ["4", "queued", "12", "13:10"],
        ["5", "held", "12", "–"],
    ]  # fmt: skip
    assert lines[-1] == "all done about 13:50 (13:20 to 14:20)"


def test_json_has_the_times_in_seconds(at_work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = {each["number"]: each for each in json.loads(printed(capsys, "queue", "--json", "--workspace", at_work))}
    fields = ("starts", "ends", "starts_interval", "ends_interval")
    minutes = {
        number: [
            value and [(each - NOON) / MINUTE for each in (value if isinstance(value, list) else [value])]
            for value in (round_[field] for field in fields)
        ]
        for number, round_ in rounds.items()
    }
    assert minutes == {
        2: [[-10], [30], None, [20, 40]],
        3: [None, None, None, None],
        4: [[30], [70], [20, 40], [50, 90]],
        5: [[70], None, [50, 90], None],
        6: [None, None, None, None],
    }
    assert {"id", "status", "spec", "plan", "result"} <= rounds[4].keys()


def test_nothing_is_foretold_without_a_runner(queued: Cockpit, capsys: pytest.CaptureFixture[str]) -> None:
    root = queued.workspace.root
    for words in (["queue"], ["queue", "--readonly"]):
        lines = printed(capsys, *words, "--workspace", root).splitlines()
        assert [line.split()[4] for line in lines[2:]] == ["–"] * 4
    rounds = json.loads(printed(capsys, "queue", "--json", "--workspace", root))
    assert [each["starts"] for each in rounds[1:]] == [None] * 4

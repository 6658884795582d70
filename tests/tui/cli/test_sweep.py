"""`loratui sweep` and the commands below it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.runs.scores import Scores, write_scores
from engine.spec.round import Result, Status, Trial
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round
from tui.cli.main import main

OPTIONS = ("--sampler", "grid", "--set", "lora.r=4,8", "--set", "lora.lora_alpha=2*r")


def loratui(workspace: Workspace, *words: str) -> int:
    return main([*words, "--workspace", str(workspace.root)], lambda _: None)


@pytest.fixture
def parent(idle_cockpit: Cockpit, nano_spec: Spec) -> int:
    """The number of a round to start from."""
    return idle_cockpit.queue(nano_spec, hold=True).number


def finish(workspace: Workspace, losses: dict[int, list[float]]) -> None:
    """Add a finished round for each setting, whose held-out rows of 10 tokens have these losses per token."""
    store = RoundStore(workspace)
    for setting, of_rows in losses.items():
        trial = Trial(sweep=1, setting=setting, point={"lora.r": str(4 * setting)})
        result = Result(eval_loss=sum(of_rows) / len(of_rows), perplexity=3.0, step=1)
        round_ = store.add(partial(make_round, trial=trial, result=result))
        run = workspace.run_dir(round_.id)
        run.path.mkdir(parents=True)
        rows = tuple(f"{row:016x}" for row in range(len(of_rows)))
        write_scores(run, 1, Scores(rows, (10,) * len(rows), tuple(10 * loss for loss in of_rows)))


def test_sweep_is_begun_listed_and_shown(workspace: Workspace, parent: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        loratui(workspace, "sweep", "new", "--from", str(parent), *OPTIONS, "--name", "rank", "--note", "Which?") == 0
    )
    assert "sweep 1 rank: running, 0 of 2 settings" in capsys.readouterr().out
    assert loratui(workspace, "sweep", "ls", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["ranges"] == {"lora.r": "4,8", "lora.lora_alpha": "2*r"} and listed["status"] == "running"
    assert loratui(workspace, "sweep") == 0  # the list, too
    assert "r, lora_alpha" in capsys.readouterr().out
    assert loratui(workspace, "sweep", "show", "1") == 0
    assert "no setting is finished yet" in capsys.readouterr().out


def test_answer_names_the_best_and_those_that_are_no_different(
    workspace: Workspace, parent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    loratui(workspace, "sweep", "new", "--from", str(parent), "--sampler", "grid", "--set", "lora.r=4,8,12")
    rows = [1.0 + 0.01 * (row % 7) for row in range(60)]
    about_as_good = [loss + (0.02 if row % 2 else -0.018) for row, loss in enumerate(rows)]
    finish(workspace, {1: rows, 2: about_as_good, 3: [loss + 0.5 + 0.01 * (row % 5) for row, loss in enumerate(rows)]})
    capsys.readouterr()
    assert loratui(workspace, "sweep", "show", "1", "--json") == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert shown["best"] == 1 and shown["verdicts"] == {"1": "", "2": "no difference", "3": "worse"}
    best, alike, warning = shown["answer"]
    assert best == "setting 1 (r 4) is best of 3 settings: perplexity 2.8"
    assert alike == "no different from it at this size: 2 (r 8)" and "chosen on these held-out rows" in warning
    assert loratui(workspace, "sweep", "export", "1", "--format", "json") == 0
    assert [each["trial"]["setting"] for each in json.loads(capsys.readouterr().out)] == [1, 2, 3]


def test_time_is_foretold_by_rounds_alike(
    workspace: Workspace, idle_cockpit: Cockpit, nano_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    """A round of 40 s in its steps, and 20 s beside them, is the only one known; nobody can tell ranks apart."""
    queued = idle_cockpit.queue(nano_spec, hold=True)
    result = Result(eval_loss=1.0, perplexity=2.7, train_seconds=40.0, trained_tokens=1000, step=1)
    RoundStore(workspace).update(
        queued.number, status=Status.FINISHED, result=result, started=0.0, ended=60.0, device="cpu"
    )
    words = ("--from", str(queued.number), "--sampler", "grid", "--set", "lora.r=4,8,12", "--repeats", "2")
    assert loratui(workspace, "sweep", "new", *words) == 0
    assert "a round takes about 1m0s, all 6 about 6m0s" in capsys.readouterr().out


def test_sweep_is_stopped_resumed_and_removed(
    workspace: Workspace, parent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    loratui(workspace, "sweep", "new", "--from", str(parent), *OPTIONS)
    assert loratui(workspace, "sweep", "stop", "1") == 0
    assert "sweep 1 is stopped" in capsys.readouterr().out
    assert loratui(workspace, "sweep", "resume", "1", "--trials", "1", "--budget", "1h30m") == 0
    sweep = Cockpit(workspace, lambda _: None).sweeps.get(1).sweep
    assert (sweep.trials, sweep.budget_seconds, sweep.stopped) == (1, 5400.0, None)
    finish(workspace, {1: [1.0]})
    assert loratui(workspace, "sweep", "rm", "1") == 0
    assert "sweep 1 is removed; its 1 round is in the trash for a week" in capsys.readouterr().out
    assert [each.status for each in RoundStore(workspace).rounds()] == [Status.HELD]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"number": "x"}', b"\xff", b"[" * 100_000])
def test_damaged_sweep_is_named_and_its_rounds_stay(
    content: bytes, workspace: Workspace, parent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    loratui(workspace, "sweep", "new", "--from", str(parent), *OPTIONS)
    finish(workspace, {1: [1.0]})
    (file,) = workspace.sweeps_dir.glob("*.json")
    file.write_bytes(content)
    capsys.readouterr()
    assert loratui(workspace, "sweep", "ls") == 0
    assert f"{file} is no sweep" in capsys.readouterr().err and file.read_bytes() == content
    assert loratui(workspace, "sweep", "new", "--from", str(parent), *OPTIONS) == 0
    assert "sweep 2: running" in capsys.readouterr().out  # its number stays its own
    assert len(RoundStore(workspace).rounds()) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("new", "--set", "lora.r=8..4"), "write the smaller number first"),
        (("new", "--set", "lora.r=8"), "no field has several values"),
        (("new", "--set", "lora.r=4,8", "--budget", "soon"), "--budget is 'soon': write a time such as 90m"),
        (("new", "--set", "lora.r=4,8", "--trials", "0"), "--trials is 0"),
        (("new", "--set", "lora.r=4,8", "--repeats", "0"), "--repeats is 0"),
        (("show", "9"), "there is no sweep 9"),
        (("stop", "9"), "there is no sweep 9"),
        (("rm", "9"), "there is no sweep 9"),
    ],
)
def test_mistake_is_one_sentence(
    words: tuple[str, ...], reason: str, workspace: Workspace, parent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ("--from", str(parent)) if words[0] == "new" else ()
    assert loratui(workspace, "sweep", *words, *start) == 2
    out, err = capsys.readouterr()
    assert reason in err and err.count("\n") == 1 and out == ""


def test_readonly_workspace_is_not_swept(workspace: Workspace, parent: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert loratui(workspace, "--readonly", "sweep", "new", "--from", str(parent), *OPTIONS) == 2
    assert not Path(workspace.sweeps_dir).exists()
    assert loratui(workspace, "--readonly", "sweep", "ls") == 0

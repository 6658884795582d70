"""A runner that dies, at its start or later, while somebody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.api import Cockpit
from engine.errors import ProcessError
from engine.files.paths import Workspace
from engine.runner.launcher import runner_is_alive, start_runner
from engine.runs.event_log import read_events
from engine.spec.fields import flatten
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.fake_engine import Script
from tests.support.fake_loratui import FRONT_END_COMMAND
from tests.support.faults.tried import Tried
from tests.support.pilot import OpenApp, until
from tests.support.pilot import open_app as open_app
from tests.support.processes import end_processes_of
from tests.support.waiting import await_rounds, await_true
from tui.cli.main import main
from tui.cli.runner import runner_finding
from tui.widgets.banner import Banner

Follow = Callable[[Script], None]
DYING = """
import sys
from engine.runner import launcher
from tui.cli.main import main
launcher.FIRST_PAUSE_SECONDS = 0.05
command = [sys.executable, "-c", "raise KeyError('no such user')"]
sys.exit(main(start=lambda workspace: launcher.start_runner(workspace, command)))
"""


def words_of(spec: Spec, workspace: Workspace) -> list[str]:
    settings = [f"{key}={value}" for key, value in flatten(spec).items() if key in ("model.path", "data.path")]
    return ["run", *(word for text in settings for word in ("--set", text)), "--set", "data.samples=", "--workspace",
            str(workspace.root)]  # fmt: skip


def test_run_ends_if_no_runner_stays_alive(workspace: Workspace, nano_spec: Spec, tried: Tried) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", DYING, *words_of(nano_spec, workspace)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    sentence = "round 1 is queued and nothing trains it: the runner ended with exit code 1 (KeyError: 'no such user')"
    lost = done.returncode != 1 or sentence not in done.stderr
    tried("F29", "dead at its start, under `loratui run`", 1, int(lost))
    assert not lost, done.stderr
    assert RoundStore(workspace).get(1).status is Status.QUEUED


def test_run_ends_when_runner_and_engine_are_killed(
    workspace: Workspace, nano_spec: Spec, script: Follow, tried: Tried
) -> None:
    script(Script(steps=100_000, step_seconds=0.02))
    store = RoundStore(workspace)
    with subprocess.Popen(
        [*FRONT_END_COMMAND, *words_of(nano_spec, workspace)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        await_true(store.exists, "the store")
        (round_,) = await_rounds(store, lambda rounds: bool(rounds) and rounds[0].process is not None)
        assert round_.process is not None
        engine = psutil.Process(round_.process.pid)
        runner = engine.parent()
        assert runner is not None
        await_true(lambda: len(read_events(workspace.run_dir(round_.id).events)) > 8, "the first steps")
        runner.kill()
        engine.kill()
        printed, errors = run.communicate(timeout=60)
    ended = store.get(1)
    lost = run.returncode != 1 or ended.status is not Status.INTERRUPTED or "resume it" not in printed
    tried("F29", "killed with its engine, under `loratui run`", 1, int(lost))
    assert not lost, (run.returncode, ended.status, printed, errors)


async def test_app_says_that_the_runner_died(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, tried: Tried
) -> None:
    idle_cockpit.queue(nano_spec)
    command = [sys.executable, "-c", "raise KeyError('no such user')"]
    cockpit = Cockpit(idle_cockpit.workspace, lambda workspace: start_runner(workspace, command))
    async with open_app(cockpit, size=(120, 36)) as pilot:
        await until(
            pilot,
            lambda: any("no such user" in str(banner.content) for banner in pilot.app.screen.query(Banner)),
            "the banner",
        )
    tried("F29", "dead at its start, under the app", 1)


DEATH = "no runner is at work for 1 unfinished round (the last one printed: KeyError: 'no such user'): see {log}"


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (["ls"], "; another one is started"),
        (["ls", "--json"], "; another one is started"),
        (["queue"], "; another one is started"),
        (["show", "1"], "; `loratui queue` starts another one"),
    ],
    ids=["ls", "ls --json", "queue", "show"],
)
def test_death_of_a_runner_that_nobody_saw_is_told(
    idle_cockpit: Cockpit,
    nano_spec: Spec,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    ending: str,
    tried: Tried,
) -> None:
    workspace = idle_cockpit.workspace
    idle_cockpit.queue(nano_spec)
    for code in ("raise KeyError('an earlier one')", "raise KeyError('no such user')"):
        start_runner(workspace, [sys.executable, "-c", code])
        await_true(lambda: not runner_is_alive(workspace), "its death")
    assert main([*words, "--workspace", str(workspace.root)], lambda _: None) == 0
    sentence = f"loratui: {DEATH.format(log=workspace.runner_log)}{ending}\n"
    printed = capsys.readouterr()
    tried("F29", f"dead before, seen by `loratui {' '.join(words)}`", 1, int(sentence not in printed.err))
    assert sentence in printed.err and "no runner" not in printed.out


def test_runner_that_was_killed_is_not_blamed_for_what_an_earlier_one_printed(
    idle_cockpit: Cockpit, nano_spec: Spec, tried: Tried
) -> None:
    workspace = idle_cockpit.workspace
    assert idle_cockpit.runner.why_idle() == ""
    idle_cockpit.queue(nano_spec)
    for code in ("raise KeyError('an earlier one')", "import os; os.kill(os.getpid(), 9)"):
        start_runner(workspace, [sys.executable, "-c", code])
        await_true(lambda: not runner_is_alive(workspace), "its death")
    assert idle_cockpit.runner.why_idle() == f"no runner is at work for 1 unfinished round: see {workspace.runner_log}"
    (finding,) = runner_finding(idle_cockpit)
    assert finding.value == idle_cockpit.runner.why_idle() and finding.advice is not None
    runner = start_runner(workspace, [sys.executable, "-c", "import time; time.sleep(1000)"])
    assert runner is not None and idle_cockpit.runner.why_idle() == "" and [*runner_finding(idle_cockpit)] == []
    end_processes_of(workspace.root)
    tried("F29", "killed without a word after one that died with one", 1)


def test_run_ends_if_the_runner_is_stopped(
    idle_cockpit: Cockpit, nano_spec: Spec, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    """By SIGSTOP: it has the lock, so no other one can be started, and it trains nothing."""
    workspace = idle_cockpit.workspace
    runner = start_runner(workspace, [sys.executable, "-c", "import time; time.sleep(1000)"])
    assert runner is not None
    process = psutil.Process(runner._process.pid)
    process.suspend()
    await_true(lambda: process.status() == psutil.STATUS_STOPPED, "the stop")
    code = main(words_of(nano_spec, workspace), lambda workspace: start_runner(workspace, ["never"]))
    lost = code != 1 or f"`kill -CONT {process.pid}`" not in capsys.readouterr().err
    tried("F29", "stopped by a signal, under `loratui run`", 1, int(lost))
    assert not lost
    assert RoundStore(workspace).get(1).status is Status.QUEUED


@pytest.mark.parametrize("place", ["a link", "a pipe", "a directory", "bytes"])
def test_log_that_is_none_is_not_quoted(idle_cockpit: Cockpit, nano_spec: Spec, place: str, tmp_path: Path) -> None:
    idle_cockpit.queue(nano_spec)
    log = idle_cockpit.workspace.runner_log
    places: dict[str, Callable[[], object]] = {
        "a link": lambda: log.symlink_to(tmp_path / "secret"),
        "a pipe": lambda: os.mkfifo(log),
        "a directory": log.mkdir,
        "bytes": lambda: log.write_bytes(b"\xff\x1b[31m\n\n"),
    }
    places[place]()
    (tmp_path / "secret").write_text("a secret")
    sentence = idle_cockpit.runner.why_idle()
    assert sentence.startswith("no runner is at work for 1 unfinished round") and "secret" not in sentence


@pytest.mark.parametrize("place", ["a link", "a pipe", "a directory"])
def test_log_that_takes_no_line_is_named_and_nothing_hangs(
    idle_cockpit: Cockpit, nano_spec: Spec, place: str, tmp_path: Path, tried: Tried
) -> None:
    idle_cockpit.queue(nano_spec)
    log = idle_cockpit.workspace.runner_log
    places: dict[str, Callable[[], object]] = {
        "a link": lambda: log.symlink_to(tmp_path / "elsewhere"),
        "a pipe": lambda: os.mkfifo(log),
        "a directory": log.mkdir,
    }
    places[place]()
    with pytest.raises(ProcessError, match=r"no runner could be started, so nothing is trained: .* \(.*runner.log\)"):
        Cockpit(idle_cockpit.workspace).runner.wake()
    assert not runner_is_alive(idle_cockpit.workspace) and not (tmp_path / "elsewhere").exists()
    tried("F29", f"{place} in the place of its log", 1)


def test_round_that_is_queued_and_not_trained_is_told(workspace: Workspace, nano_spec: Spec, tried: Tried) -> None:
    workspace.runs_dir.mkdir(exist_ok=True)
    workspace.runner_log.mkdir()
    words = ["new", *words_of(nano_spec, workspace)[1:]]
    done = subprocess.run([*FRONT_END_COMMAND, *words], capture_output=True, text=True, timeout=60)
    lost = done.returncode != 0 or "no runner is at work for 1 unfinished round" not in done.stderr
    tried("F29", "not started after `loratui new`", 1, int(lost))
    assert not lost, done.stderr

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from engine.api import Cockpit
from engine.errors import ProcessError, RunnerStopped
from engine.files.paths import Workspace
from engine.runner.launcher import RunnerRestarts, StartedRunner, runner_is_alive, start_runner
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.processes import printed_by_runners
from tests.support.waiting import await_true
from tui.cli.runner import runner_finding, say_if_idle, wake_runner


def started(workspace: Workspace, code: str) -> StartedRunner:
    runner = start_runner(workspace, [sys.executable, "-c", code])
    assert runner is not None
    return runner


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise KeyError('no such user')", "the runner ended with exit code 1 (KeyError: 'no such user'): see {log}"),
        ("import os; os.kill(os.getpid(), 9)", "the runner was killed by SIGKILL: see {log}"),
        ("import sys; sys.exit(3)", "the runner ended with exit code 3: see {log}"),
        ("print('all is done')", ""),
    ],
)
def test_runner_that_died_says_how(workspace: Workspace, code: str, sentence: str) -> None:
    workspace.runs_dir.mkdir()
    workspace.runner_log.write_text("an older line\n")
    runner = started(workspace, code)
    await_true(lambda: runner._process.returncode is not None, "its end")
    assert runner.failure() == sentence.format(log=workspace.runner_log)


def test_runner_that_dies_before_its_start_returns_says_how(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndedProcess(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.wait()

    monkeypatch.setattr(subprocess, "Popen", EndedProcess)
    assert "(KeyError: 'no such user')" in started(workspace, "raise KeyError('no such user')").failure()


def test_runner_that_lives_has_not_failed(workspace: Workspace) -> None:
    runner = started(workspace, "import time; time.sleep(1000)")
    assert runner.failure() == ""
    os.kill(runner._process.pid, signal.SIGTERM)
    await_true(lambda: "SIGTERM" in runner.failure(), "its end")


def test_runner_is_at_work_from_the_moment_it_is_started(workspace: Workspace) -> None:
    runner = started(workspace, "import time; time.sleep(1000)")  # as one that still imports
    assert runner_is_alive(workspace)
    assert start_runner(workspace, [sys.executable, "-c", "raise SystemExit('a second one')"]) is None
    os.kill(runner._process.pid, signal.SIGKILL)
    await_true(lambda: not runner_is_alive(workspace), "its end")
    assert printed_by_runners(workspace) == ""


def test_process_of_a_runner_that_still_starts_is_waited_for_by_other_front_ends(
    workspace: Workspace, store: RoundStore, nano_spec: Spec
) -> None:
    runners: list[StartedRunner] = []

    def start(workspace: Workspace) -> StartedRunner | None:
        runner = start_runner(workspace, [sys.executable, "-c", "import time; time.sleep(1000)"])
        runners.extend([runner] if runner is not None else [])
        return runner

    Cockpit(workspace, start).queue(nano_spec)
    for _ in range(3):
        Cockpit(workspace, start).runner.wake()
    assert len(runners) == 1
    os.kill(runners[0]._process.pid, signal.SIGKILL)


class Scene:
    """A clock, and a runner that dies whenever it is started, as long as `is_dying`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.is_dying = True
        self.starts: list[float] = []
        self.failure = ""

    def wake(self) -> None:
        self.starts.append(self.now)
        self.failure = "it died" if self.is_dying else ""

    def restarts(self, wake: Callable[[], object] | None = None) -> RunnerRestarts:
        return RunnerRestarts(wake or self.wake, lambda: self.failure, lambda: self.now)

    def pass_time(self, restarts: RunnerRestarts, seconds: int) -> None:
        for _ in range(seconds):
            restarts.look()
            self.now += 1


def test_runner_that_keeps_dying_is_started_less_and_less_often() -> None:
    scene = Scene()
    restarts = scene.restarts()
    scene.pass_time(restarts, 2000)
    pauses = [later - earlier for earlier, later in zip(scene.starts, scene.starts[1:], strict=False)]
    assert pauses == [6, 11, 21, 41, 81, 161, *[301] * (len(pauses) - 6)]  # each death is seen a second later
    assert restarts.trouble == "it died; another one is started after 300 s"
    assert restarts.deaths == len(scene.starts)


def test_trouble_is_over_once_a_runner_lives() -> None:
    scene = Scene()
    restarts = scene.restarts()
    scene.pass_time(restarts, 20)
    assert restarts.deaths == 3
    scene.is_dying = False
    scene.pass_time(restarts, 30)
    assert (restarts.trouble, restarts.deaths) == ("", 3)
    scene.pass_time(restarts, 60)
    assert restarts.deaths == 0


def test_reason_why_none_can_be_started_stays_until_one_can() -> None:
    scene = Scene()

    def refuse() -> None:
        raise ProcessError("no runner could be started")

    restarts = scene.restarts(refuse)
    for _ in range(12):
        with contextlib.suppress(ProcessError):
            restarts.look()
        assert restarts.trouble == "no runner could be started"
        scene.now += 1


def test_stopped_runner_is_named_until_it_goes_on(
    workspace: Workspace, nano_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import time; time.sleep(1000)"
    cockpit = Cockpit(workspace, lambda workspace: start_runner(workspace, [sys.executable, "-c", code]))
    cockpit.queue(nano_spec)
    assert cockpit.runner._started is not None
    process = psutil.Process(cockpit.runner._started._process.pid)
    process.suspend()
    await_true(lambda: process.status() == psutil.STATUS_STOPPED, "the stop")
    sentence = f"the runner (process {process.pid}) is stopped, and nothing is trained until it goes on"
    with pytest.raises(RunnerStopped, match=re.escape(sentence)):
        cockpit.runner.wake()
    wake_runner(cockpit)
    assert f"loratui: {sentence}: `kill -CONT {process.pid}`\n" == capsys.readouterr().err
    say_if_idle(cockpit)
    assert sentence in capsys.readouterr().err
    assert [finding.value for finding in runner_finding(cockpit)] == [f"{sentence}: `kill -CONT {process.pid}`"]
    process.resume()
    cockpit.runner.wake()
    assert cockpit.runner.why_stopped() == ""

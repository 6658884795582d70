"""What becomes of a round when its runner, its engine or both are gone."""

from __future__ import annotations

import signal
from collections.abc import Callable

import psutil
import pytest

from engine.api import Cockpit
from engine.errors import RunnerStopped
from engine.files.paths import Workspace
from engine.runner.launcher import runner_is_alive
from engine.runs.event_log import read_events
from engine.runs.events import Started
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.fake_engine import Script, result_at
from tests.support.processes import is_running, printed_by_runners, start_fake_runner
from tests.support.rounds import damage
from tests.support.waiting import await_rounds, await_status, await_true

Follow = Callable[[Script], None]
SLOW = Script(steps=60, step_seconds=0.02)


def training(store: RoundStore, workspace: Workspace) -> tuple[Round, psutil.Process, psutil.Process]:
    """The round in training after a step or more, its engine and its runner."""
    (round_,) = await_rounds(store, lambda rounds: rounds[0].process is not None)
    assert round_.process is not None
    engine = psutil.Process(round_.process.pid)
    runner = engine.parent()
    assert runner is not None
    await_true(lambda: len(read_events(workspace.run_dir(round_.id).events)) > 8, "the first steps")
    return round_, engine, runner


def engines_of(workspace: Workspace, round_: Round) -> list[Started]:
    return [event for event in read_events(workspace.run_dir(round_.id).events) if isinstance(event, Started)]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_new_runner_takes_over_the_engine_of_a_dead_one(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow, signum: signal.Signals
) -> None:
    script(SLOW)
    cockpit.queue(nano_spec)
    round_, engine, runner = training(store, workspace)
    runner.send_signal(signum)
    await_true(lambda: not runner_is_alive(workspace), "the runner's end")
    assert is_running(engine)
    assert store.get(1).status is Status.RUNNING
    cockpit.runner.wake()
    finished = await_status(store, 1, Status.FINISHED)
    assert finished.result == result_at(SLOW.steps, SLOW.steps, f"runs/{round_.id}/adapter")
    assert len(engines_of(workspace, round_)) == 1


@pytest.mark.long
def test_round_that_finished_with_nobody_watching_is_recorded(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(SLOW)
    cockpit.queue(nano_spec)
    round_, engine, runner = training(store, workspace)
    runner.kill()
    await_true(lambda: not is_running(engine) and not runner_is_alive(workspace), "the end of both")
    assert store.get(1).status is Status.RUNNING
    cockpit.runner.wake()
    await_status(store, 1, Status.FINISHED)
    assert len(engines_of(workspace, round_)) == 1


def test_round_is_interrupted_when_both_are_killed_and_can_be_resumed(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(SLOW)
    cockpit.queue(nano_spec)
    round_, engine, runner = training(store, workspace)
    await_true(lambda: len(read_events(workspace.run_dir(round_.id).events)) > 15, "a checkpoint")
    runner.kill()
    engine.kill()
    await_true(lambda: not runner_is_alive(workspace), "the runner's end")
    cockpit.runner.wake()
    interrupted = await_status(store, 1, Status.INTERRUPTED)
    assert interrupted.message.startswith("the engine was gone at step ")
    cockpit.resume(1)
    await_status(store, 1, Status.FINISHED)
    assert [started.resumed_from is None for started in engines_of(workspace, round_)] == [True, False]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_killed_engine_is_interrupted_by_the_signal_named(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow, signum: signal.Signals
) -> None:
    script(SLOW)
    cockpit.queue(nano_spec)
    _, engine, _ = training(store, workspace)
    engine.send_signal(signum)
    ended = await_status(store, 1, Status.INTERRUPTED)
    assert f"killed by signal {signum:d} ({signum.name}) at step" in ended.message


def test_wish_to_stop_outlives_the_runner(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=100_000, step_seconds=0.02))
    cockpit.queue(nano_spec)
    _, engine, runner = training(store, workspace)
    runner.suspend()
    await_true(lambda: runner.status() == psutil.STATUS_STOPPED, "the stop")
    with pytest.raises(RunnerStopped):
        cockpit.stop(1)
    runner.kill()
    await_true(lambda: not runner_is_alive(workspace), "the runner's end")
    cockpit.runner.wake()
    assert await_status(store, 1, Status.STOPPED).message.startswith("stopped after step")
    assert not is_running(engine)


@pytest.mark.long
def test_runners_started_at_once_train_once(
    workspace: Workspace, store: RoundStore, idle_cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=30, step_seconds=0.01))
    rounds = [idle_cockpit.queue(nano_spec) for _ in range(2)]
    for _ in range(4):
        start_fake_runner(workspace)
    await_status(store, 2, Status.FINISHED)
    await_true(lambda: not runner_is_alive(workspace), "the runners' end")
    assert [len(engines_of(workspace, round_)) for round_ in rounds] == [1, 1]
    assert printed_by_runners(workspace) == ""


@pytest.mark.long
def test_store_damaged_beneath_a_runner_is_mended_and_training_goes_on(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(SLOW)
    cockpit.queue(nano_spec)
    round_, engine, _ = training(store, workspace)
    damage(workspace.store_path, b"{broken")
    await_status(store, 1, Status.FINISHED)
    assert len(engines_of(workspace, round_)) == 1
    assert not is_running(engine)
    assert [aside.read_bytes() for aside in workspace.root.glob("*.damaged")] == [b"{broken"]
    assert printed_by_runners(workspace) == ""

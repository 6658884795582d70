from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from engine.alerts.run_monitor import Alarm, Kind
from engine.api import Cockpit
from engine.files.paths import RunDir, Workspace
from engine.runner import engine_process
from engine.runner import queue as runner_module
from engine.runner.gpu_slots import GpuSlots
from engine.runner.launcher import RUNNER_LOCK_VARIABLE, needs_runner, runner_is_alive
from engine.runner.queue import Runner, engine_command
from engine.runs.event_log import read_events
from engine.runs.events import Started, encode_event
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.recovery import rounds_of_runs
from engine.store.round_store import RoundStore
from engine.system import locks
from engine.system.locks import acquire_inheritable_lock
from engine.system.process import ProcessIdentity, own_identity
from engine.system.telemetry import GpuProcess, GpuSample
from tests.support.fake_engine import Script, result_at
from tests.support.fake_runner import fake_engine_command
from tests.support.processes import processes_of
from tests.support.rounds import change_spec, make_round
from tests.support.waiting import DEADLINE_SECONDS, await_rounds, await_status, await_true

Follow = Callable[[Script], None]


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(runner_module, "LOCK_SECONDS", 0.05)


@pytest.fixture
def queue(idle_cockpit: Cockpit, nano_spec: Spec) -> Callable[..., Round]:
    """Queue a round, or hold it, with no runner behind."""
    return lambda **options: idle_cockpit.queue(nano_spec, **options)


def run(workspace: Workspace, *scripts: Script) -> list[RunDir]:
    """Run the queue here; the engines follow the scripts in turn, the last for all others. Returns them in order."""
    trained: list[RunDir] = []

    def command(run: RunDir) -> list[str]:
        script = (scripts or (Script(),))[min(len(trained), len(scripts) - 1)]
        trained.append(run)
        return ["env", *(f"{name}={value}" for name, value in script.environment().items()), *fake_engine_command(run)]

    Runner(workspace, command).run()
    return trained


def test_somebody_is_called_for_what_happens(workspace: Workspace, queue: Callable[..., Round], script: Follow) -> None:
    queue(name="good")
    queue(name="bad")
    calls: list[Alarm] = []

    def command(run: RunDir) -> list[str]:
        script(Script(steps=6, step_seconds=0.05, nan_at=2) if run.path.name[:4] == "0001" else Script(fail_at=2))
        return fake_engine_command(run)

    Runner(workspace, command, call=calls.append).run()
    assert [(alarm.kind, alarm.number) for alarm in calls] == [
        (Kind.NAN, 1), (Kind.FINISHED, 1), (Kind.FAILED, 2),
    ]  # fmt: skip
    assert "round 1 (good): finished: perplexity" in calls[1].message


def test_configured_command_is_run_with_nobody_there(
    workspace: Workspace, queue: Callable[..., Round], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    output = tmp_path / "said"
    (tmp_path / "loratui").mkdir()
    command = f"sh -c 'echo \"$LORATUI_EVENT $LORATUI_ROUND\" >> {output}' sh"
    (tmp_path / "loratui" / "config.toml").write_text(f"[notify]\ncommand = {json.dumps(command)}\n")
    queue()
    run(workspace, Script(steps=2))
    await_true(output.exists, "the command")
    await_true(lambda: output.read_text() == "finished 1\n", "its words")


def statuses(store: RoundStore) -> list[Status]:
    return [round_.status for round_ in store.rounds()]


def test_queue_is_trained_in_order(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    queued = [queue(name=name) for name in "abc"]
    recorded: list[tuple[int, Status]] = []
    update = RoundStore.update

    def note_status(self: RoundStore, number: int, *arguments: Any, **changes: Any) -> Round:
        round_ = update(self, number, *arguments, **changes)
        if "status" in changes:
            recorded.append((number, round_.status))
        return round_

    monkeypatch.setattr(RoundStore, "update", note_status)
    assert [run.path.name for run in run(workspace, Script(steps=4))] == [round_.id for round_ in queued]
    assert recorded == [(n, status) for n in (1, 2, 3) for status in (Status.RUNNING, Status.FINISHED)]
    for round_ in store.rounds():
        assert round_.result == result_at(4, 4, f"runs/{round_.id}/adapter")
        assert (round_.process, round_.message) == (None, "")
        assert (round_.device, round_.resumed_from, round_.disk_bytes) == ("cpu", None, len("{}"))  # of the adapter
        assert round_.started is not None and round_.ended is not None
        assert queued[0].created is not None and queued[0].created < round_.started < round_.ended
    spans = [(round_.started, round_.ended) for round_ in store.rounds()]
    assert spans == sorted(spans)
    assert not runner_is_alive(workspace)


def test_queue_is_trained_in_the_order_it_was_put_in(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], idle_cockpit: Cockpit
) -> None:
    ids = {round_.id: round_.number for round_ in (queue(), queue(), queue())}
    idle_cockpit.move(3, 1)
    assert [ids[trained.path.name] for trained in run(workspace, Script(steps=1))] == [3, 1, 2]


def gpu(index: int, *, free: int = 80, pids: tuple[int, ...] = ()) -> GpuSample:
    """A GPU of 80 GiB with `free` of them free, and processes on it."""
    processes = tuple(GpuProcess(pid, 2**30) for pid in pids)
    return GpuSample(
        index=index, name="A100", memory_used=(80 - free) * 2**30, memory_total=80 * 2**30, utilisation=0,
        temperature=40, power_watts=50.0, uuid=f"GPU-{index}", processes=processes,
    )  # fmt: skip


def test_machine_with_several_gpus_trains_a_round_on_each(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    for _ in range(5):
        queue()
    at_once: list[set[str | None]] = []

    def note_gpu(run: RunDir) -> list[str]:
        at_once.append({round_.gpu for round_ in store.rounds() if round_.status is Status.RUNNING})
        return ["env", *settings, *fake_engine_command(run)]

    settings = [f"{name}={value}" for name, value in Script(steps=20, step_seconds=0.01).environment().items()]
    Runner(workspace, note_gpu, GpuSlots(lambda: ((gpu(0), gpu(1)), ""), {})).run()
    assert statuses(store) == [Status.FINISHED] * 5
    assert at_once[1] == {"GPU-0", "GPU-1"}
    assert all(len(gpus) <= 2 for gpus in at_once)
    assert {round_.gpu for round_ in store.rounds()} == {"GPU-0", "GPU-1"}


def test_engine_sees_the_gpu_it_was_given_and_no_other(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    queue()
    seen = workspace.root / "seen"
    shell = ["sh", "-c", f'echo "$CUDA_VISIBLE_DEVICES" > {seen}']
    Runner(workspace, lambda _: shell, GpuSlots(lambda: ((gpu(0, free=10), gpu(1)), ""), {})).run()
    assert seen.read_text() == "GPU-1\n"


def test_failed_round_does_not_stop_the_queue(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    for _ in range(5):
        queue()
    run(workspace, Script(fail_at=7), Script(die_at=7), Script(quit_at=7), Script(mute=True), Script())
    failed, killed, quitted, mute, finished = store.rounds()
    log = workspace.run_dir(quitted.id).log
    assert [(round_.status, round_.message) for round_ in (failed, killed, quitted, mute, finished)] == [
        (Status.FAILED, "the loss at step 7 is no number"),
        (Status.INTERRUPTED, "killed by signal 9 (SIGKILL) at step 6: resume it"),
        (Status.FAILED, f"the engine ended with exit code 3 at step 6 and no reason: see {log}"),
        (Status.INTERRUPTED, "killed by signal 9 (SIGKILL): resume it"),
        (Status.FINISHED, ""),
    ]
    assert failed.result.train_seconds == killed.result.train_seconds == 6.0
    assert failed.result.adapter_dir is None


@pytest.mark.parametrize("command", [["/no/such/program"], ["/etc/passwd"]])
def test_engine_that_cannot_be_started_fails_its_round(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], command: list[str]
) -> None:
    queue(), queue()
    Runner(workspace, lambda _: command).run()
    assert statuses(store) == [Status.FAILED] * 2
    assert store.get(1).message.startswith("the engine could not be started: ")


def test_held_and_ended_rounds_are_left_alone(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    queue(hold=True)
    for status in (Status.FINISHED, Status.STOPPED, Status.FAILED, Status.INTERRUPTED, Status.IMPORTED):
        store.add(partial(make_round, status=status))
    before = store.rounds()
    queue()
    assert len(run(workspace)) == 1
    assert store.rounds()[:-1] == before
    assert store.rounds()[-1].status is Status.FINISHED


def test_round_queued_while_another_trains_is_trained_too(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    queue()

    def command(run: RunDir) -> list[str]:
        if len(store.rounds()) < 3:
            queue()
        return fake_engine_command(run)

    Runner(workspace, command).run()
    assert statuses(store) == [Status.FINISHED] * 3


def test_round_queued_while_the_runner_finishes_is_not_left_behind(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    release = FileLock.release
    seen: list[bool] = []
    waiting = [workspace.runner_lock]

    def queue_before_release(self: FileLock, force: bool = False) -> None:
        if Path(self.lock_file) in waiting:
            waiting.clear()
            seen.append(runner_is_alive(workspace))  # so that a front end starts no other runner
            queue()
        release(self, force)

    monkeypatch.setattr(type(FileLock(workspace.runner_lock)), "release", queue_before_release)
    run(workspace)
    assert seen == [True]
    assert statuses(store) == [Status.FINISHED] * 2


def test_round_queued_while_a_runner_that_inherited_its_lock_finishes_is_not_left_behind(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    workspace.runs_dir.mkdir(exist_ok=True)
    descriptor = acquire_inheritable_lock(workspace.runner_lock)
    monkeypatch.setenv(RUNNER_LOCK_VARIABLE, str(descriptor))
    seen: list[bool] = []

    def queue_before_release(lock: int) -> None:
        seen.append(runner_is_alive(workspace))
        queue()
        locks.release(lock)

    monkeypatch.setattr("engine.runner.queue.release", queue_before_release)
    run(workspace)
    assert seen == [True]
    assert statuses(store) == [Status.FINISHED] * 2
    assert not runner_is_alive(workspace)


def test_round_held_at_the_last_moment_is_not_started(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    start = Runner._start

    def hold_meanwhile(self: Runner, round_: Round, gpu: str | None) -> None:
        store.update(round_.number, status=Status.HELD)
        start(self, round_, gpu)

    monkeypatch.setattr(Runner, "_start", hold_meanwhile)
    assert run(workspace) == []
    assert statuses(store) == [Status.HELD]


def test_second_runner_leaves_the_queue_to_the_first(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    queue()
    workspace.runs_dir.mkdir(exist_ok=True)
    with FileLock(workspace.runner_lock):
        assert runner_is_alive(workspace)
        assert run(workspace) == []
    assert statuses(store) == [Status.QUEUED]


def test_warnings_of_plan_and_engine_are_both_kept(
    workspace: Workspace, store: RoundStore, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    planned = idle_cockpit.queue(change_spec(nano_spec, train__save_strategy="no")).warnings
    run(workspace, Script(warnings=("3 rows were cut off", planned[0])))
    assert store.get(1).warnings == (*planned, "3 rows were cut off")


def test_plan_of_a_round_that_ended_has_the_rows_it_was_trained_on(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    assert queue().plan.train_samples != 16 * 3
    (trained,) = run(workspace, Script(steps=3))
    plan = store.get(1).plan
    assert (plan.train_samples, plan.eval_samples, plan.steps_per_epoch, plan.total_steps) == (16 * 3, 10, 3, 3)
    assert [round_.plan for round_ in rounds_of_runs(workspace)] == [plan]
    assert trained.name == store.get(1).id


def test_resumed_round_goes_on_and_finishes(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], idle_cockpit: Cockpit
) -> None:
    round_ = queue()
    run(workspace, Script(steps=10, die_at=8))
    assert store.get(1).status is Status.INTERRUPTED
    idle_cockpit.resume(1)
    run(workspace, Script(steps=10, die_at=8))
    finished = store.get(1)
    assert (finished.status, finished.message) == (Status.FINISHED, "")
    events = read_events(workspace.run_dir(round_.id).events)
    assert [event.resumed_from for event in events if isinstance(event, Started)] == [None, 5]


def test_resumed_round_is_not_given_its_old_ending(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], idle_cockpit: Cockpit
) -> None:
    queue()
    run(workspace, Script(fail_at=8))
    idle_cockpit.resume(1)
    failed_at = store.rounds()[0].started
    run(workspace, Script(mute=True))
    round_ = store.get(1)
    assert (round_.status, round_.message) == (
        Status.INTERRUPTED,
        "killed by signal 9 (SIGKILL): resume it",
    )
    assert failed_at is not None and round_.ended is not None and round_.ended > failed_at


def test_stopped_round_keeps_what_it_came_to(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=100_000, step_seconds=0.01))
    round_ = cockpit.queue(nano_spec)
    run_dir = workspace.run_dir(round_.id)
    await_true(lambda: len(read_events(run_dir.events)) > 8, "the first steps")
    assert cockpit.stop(1).status is Status.STOPPING
    stopped = await_status(store, 1, Status.STOPPED)
    assert stopped.result.train_seconds is not None
    assert stopped.message == f"stopped after step {stopped.result.train_seconds:.0f}"
    assert stopped.result.adapter_dir == f"runs/{round_.id}/adapter"
    assert (workspace.root / stopped.result.adapter_dir).is_dir()


def test_engine_that_will_not_stop_is_killed_with_its_helpers(
    workspace: Workspace,
    store: RoundStore,
    queue: Callable[..., Round],
    idle_cockpit: Cockpit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_process, "GRACE_SECONDS", 0.2)
    events = workspace.run_dir(queue().id).events
    runner = threading.Thread(target=run, args=(workspace, Script(steps=10, hang_at=4, helper=True)), daemon=True)
    runner.start()
    await_true(lambda: len(read_events(events)) >= 9, "three steps")
    assert len(processes_of(workspace.root)) == 2
    idle_cockpit.stop(1)
    runner.join(DEADLINE_SECONDS)
    killed = store.get(1)
    assert (killed.status, killed.message) == (Status.STOPPED, "killed at step 3, as it did not stop within 0 s")
    await_true(lambda: not processes_of(workspace.root), "the helper's end")


def test_round_stopped_before_its_engine_could_speak_is_stopped(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    queue()

    def command(_: RunDir) -> list[str]:
        store.update(1, status=Status.STOPPING)
        return ["sleep", "1000"]

    Runner(workspace, command).run()
    assert (store.get(1).status, store.get(1).message) == (Status.STOPPED, "stopped before the first step")


@pytest.mark.parametrize("status", [Status.RUNNING, Status.STOPPING])
@pytest.mark.parametrize("last_word", [True, False])
def test_round_whose_engine_is_gone_is_recorded(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], status: Status, last_word: bool
) -> None:
    round_ = queue()
    trained = run(workspace, Script(steps=6) if last_word else Script(steps=6, die_at=4))[0]
    gone = next(event.process for event in read_events(trained.events) if isinstance(event, Started))
    store.update(1, status=status, process=gone, result=round_.result)
    assert run(workspace) == []
    recorded = store.get(1)
    expected = {
        (True, Status.RUNNING): (Status.FINISHED, ""),
        (True, Status.STOPPING): (Status.FINISHED, ""),
        (False, Status.RUNNING): (
            Status.INTERRUPTED,
            "the engine was gone at step 3 when the runner looked for it: resume it",
        ),
        (False, Status.STOPPING): (Status.STOPPED, "stopped at step 3"),
    }
    assert (recorded.status, recorded.message) == expected[last_word, status]
    assert recorded.process is None


def test_round_whose_runner_died_before_the_engine_was_started_is_recorded(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    queue()
    store.update(1, status=Status.RUNNING)
    assert run(workspace) == []
    assert store.get(1).status is Status.INTERRUPTED


def test_stranger_with_the_engines_pid_is_not_waited_for(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    round_ = queue()
    own = own_identity()
    stranger = ProcessIdentity(own.boot_id, own.pid, own.start_ticks - 1)
    workspace.run_dir(round_.id).events.write_bytes(encode_event(Started(time=1.0, process=stranger)))
    store.update(1, status=Status.STOPPING, process=stranger)
    run(workspace)
    assert store.get(1).status is Status.STOPPED


def test_round_with_an_impossible_id_does_not_block_the_others(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round]
) -> None:
    queue(), queue()
    document = json.loads(workspace.store_path.read_bytes())
    document["rounds"]["1"] |= {"id": "../elsewhere", "status": "running"}
    workspace.store_path.write_bytes(json.dumps(document).encode())
    assert [run.path.parent for run in run(workspace)] == [workspace.runs_dir]
    assert [(round_.number, round_.status) for round_ in store.rounds()] == [(2, Status.FINISHED)]
    assert "round 1 in experiments.json is not valid" in store.notices()[0]
    assert not (workspace.root / "elsewhere").exists()


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_events_that_cannot_be_read_fail_their_round_and_no_other(
    workspace: Workspace, store: RoundStore, queue: Callable[..., Round], status: Status
) -> None:
    unreadable = workspace.run_dir(queue().id).events
    unreadable.mkdir()
    queue()
    store.update(1, status=status)
    run(workspace)
    assert statuses(store) == [Status.FAILED, Status.FINISHED]
    assert str(unreadable) in store.get(1).message and "is a directory" in store.get(1).message
    assert not processes_of(workspace.root)


def test_lost_run_directory_is_made_anew(workspace: Workspace, store: RoundStore, queue: Callable[..., Round]) -> None:
    shutil.rmtree(workspace.run_dir(queue().id).path)
    run(workspace)
    assert statuses(store) == [Status.FINISHED]


def test_engine_is_started_as_a_module_and_resumed_by_its_events(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    command = [sys.executable, "-P", "-m", "engine.training", str(tmp_path)]
    assert engine_command(run_dir) == command
    run_dir.events.touch()
    assert engine_command(run_dir) == [*command, "--resume"]


@pytest.mark.parametrize("status", list(Status))
def test_runner_is_needed_for_what_is_not_at_its_end(status: Status) -> None:
    unfinished = status in (Status.QUEUED, Status.RUNNING, Status.STOPPING)
    assert needs_runner([make_round(1, Status.FINISHED), make_round(2, status)]) is unfinished


def test_runner_and_engine_are_on_their_own(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=3, hang_at=2))
    round_ = cockpit.queue(nano_spec)
    run_dir = workspace.run_dir(round_.id)
    await_true(lambda: len(read_events(run_dir.events)) > 6, "the engine hangs")
    trained = await_rounds(store, lambda rounds: rounds[0].process is not None)[0].process
    assert trained is not None
    engine = psutil.Process(trained.pid)
    runner = engine.parent()
    assert runner is not None and runner in processes_of(workspace.root)
    for process, log in ((runner, workspace.runner_log), (engine, run_dir.log)):
        assert os.getsid(process.pid) == process.pid
        descriptors = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        assert descriptors == ["/dev/null", str(log), str(log)]
    status = Path(f"/proc/{runner.pid}/status").read_text()
    ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    assert ignored & (1 << (signal.SIGHUP - 1))

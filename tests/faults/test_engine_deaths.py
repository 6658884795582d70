"""Engines that hang, freeze, are killed, or leave others behind; and strangers who are none of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from engine.api import Cockpit
from engine.files.paths import RunDir, Workspace
from engine.runner import engine_process
from engine.runner.gpu_slots import GpuSlots
from engine.runner.liveness import StallLimits
from engine.runner.queue import Runner
from engine.runs.engine_contract import RUN_VARIABLE, run_key
from engine.runs.event_log import read_events
from engine.runs.events import Started, Step, encode_event
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.system.process import ProcessIdentity, identify, own_identity, processes_with
from engine.system.telemetry import GpuProcess, GpuSample
from tests.support.fake_engine import HELPER, Script
from tests.support.fake_runner import fake_engine_command
from tests.support.faults.tried import Tried
from tests.support.processes import end_processes_of
from tests.support.rounds import make_round
from tests.support.waiting import DEADLINE_SECONDS, await_status, await_true

PATIENCE = StallLimits(
    beat_warned=0.5, beat_ended=1.5, step_warned=0.5, step_warned_times=0.1, step_ended=1.5, step_ended_times=0.3
)
Times = Callable[[int, int], int]
Follow = Callable[[Script], None]


@contextmanager
def runner(workspace: Workspace, limits: StallLimits | None = None) -> Iterator[threading.Thread]:
    """A runner in a thread, that has ended when the context has."""
    thread = threading.Thread(target=Runner(workspace, fake_engine_command, limits=limits).run, daemon=True)
    thread.start()
    yield thread
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()


def steps_of(run: RunDir) -> int:
    return len(read_events(run.events, Step))


def await_steps(run: RunDir, count: int) -> None:
    await_true(lambda: steps_of(run) >= count, f"{count} steps")


def members(run: RunDir) -> list[ProcessIdentity]:
    return processes_with(RUN_VARIABLE, run_key(run))


def queue(workspace: Workspace, spec: Spec) -> RunDir:
    return workspace.run_dir(Cockpit(workspace, lambda _: None).queue(spec).id)


@pytest.mark.parametrize(
    ("how", "missing"),
    [
        ("hangs", "has taken no step"),
        ("silent", "has shown no sign of life"),
        ("frozen", "has shown no sign of life"),
    ],
)
def test_engine_that_hangs_is_told_and_then_ended(
    workspace: Workspace, store: RoundStore, nano_spec: Spec, script: Follow, tried: Tried, how: str, missing: str
) -> None:
    script(Script(hang_at=3 if how == "hangs" else None, silent_at=3 if how == "silent" else None, steps=100_000,
                  step_seconds=0.01, helper=True))  # fmt: skip
    run, behind = queue(workspace, nano_spec), queue(workspace, nano_spec)
    with runner(workspace, PATIENCE):
        await_steps(run, 2)
        if how == "frozen":
            (engine,) = [member for member in members(run) if os.getsid(member.pid) == member.pid]
            os.kill(engine.pid, signal.SIGSTOP)
        await_true(lambda: store.get(1).message.startswith(f"stalled: the engine {missing} since "), "the stall told")
        assert store.get(1).status is Status.RUNNING
        script(Script(steps=1))
        ended = await_status(store, 1, Status.INTERRUPTED)
        left = members(run)
        await_status(store, 2, Status.FINISHED)
    tried("F16", "engine that hangs, is silent or is frozen", 1, len(left))
    assert left == []
    assert ended.message.startswith("killed at step ") and f", as it {missing} for " in ended.message
    assert steps_of(behind) == 1


@pytest.mark.long
def test_stalled_round_that_goes_on_is_told_no_more(
    workspace: Workspace, store: RoundStore, nano_spec: Spec, script: Follow, tried: Tried
) -> None:
    script(Script(steps=100_000, step_seconds=0.01))
    run = queue(workspace, nano_spec)
    with runner(workspace, StallLimits(beat_warned=0.5, beat_ended=1000.0)):
        await_steps(run, 2)
        (engine,) = members(run)
        os.kill(engine.pid, signal.SIGSTOP)
        await_true(lambda: "no sign of life" in store.get(1).message, "the stall told")
        os.kill(engine.pid, signal.SIGCONT)
        await_true(lambda: store.get(1).message == "", "the message taken back")
        assert store.get(1).status is Status.RUNNING
        Cockpit(workspace, lambda _: None).stop(1)
    tried("F16", "engine frozen for a while", 1)
    assert store.get(1).status is Status.STOPPED


def test_frozen_engine_is_stopped_all_the_same(
    workspace: Workspace, store: RoundStore, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=100_000, step_seconds=0.01))
    run = queue(workspace, nano_spec)
    with runner(workspace):
        await_steps(run, 2)
        os.kill(members(run)[0].pid, signal.SIGSTOP)
        Cockpit(workspace, lambda _: None).stop(1)
    assert store.get(1).message.startswith("stopped after step ")


@pytest.mark.parametrize("end", ["stop", "stop that is ignored", "kill", "finish"])
def test_nothing_is_left_of_an_engine_and_its_helpers(
    workspace: Workspace, store: RoundStore, nano_spec: Spec, script: Follow, tried: Tried, times: Times,
    monkeypatch: pytest.MonkeyPatch, end: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(engine_process, "GRACE_SECONDS", 0.3)
    hang = 2 if end == "stop that is ignored" else None
    steps = 3 if end == "finish" else 100_000
    script(Script(steps=steps, step_seconds=0.01, helper=True, daemon=True, hang_at=hang))
    left, count = 0, times(1, 5)
    for number in range(1, count + 1):
        run = queue(workspace, nano_spec)
        with runner(workspace):
            if end != "finish":
                await_steps(run, 1)
                assert len(members(run)) == 3
            if end == "kill":
                process = store.get(number).process
                assert process is not None
                os.kill(process.pid, signal.SIGKILL)
            elif end != "finish":
                Cockpit(workspace, lambda _: None).stop(number)
        left += len(members(run))
    tried("F12", "engine that ends with two helpers that ignore SIGTERM, one in its own session", count, left)
    assert left == 0


@pytest.mark.long
def test_gpu_memory_that_a_killed_engine_does_not_give_back_is_named(
    workspace: Workspace, store: RoundStore, nano_spec: Spec, script: Follow, tried: Tried,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(engine_process, "GRACE_SECONDS", 0.3)
    script(Script(steps=3, hang_at=2))
    run = queue(workspace, nano_spec)

    def sample() -> tuple[tuple[GpuSample, ...], str]:
        started = (event for event in read_events(run.events) if isinstance(event, Started))
        held = [GpuProcess(event.process.pid, 3 * 2**30) for event in started]
        return (GpuSample(0, "T4", 3 * 2**30, 15 * 2**30, 0, 40, 20.0, "GPU-0", tuple(held)),), ""

    thread = threading.Thread(target=Runner(workspace, fake_engine_command, GpuSlots(sample, {})).run, daemon=True)
    thread.start()
    await_steps(run, 1)
    Cockpit(workspace, lambda _: None).stop(1)
    thread.join(DEADLINE_SECONDS)
    tried("F12", "GPU memory not given back by a killed engine (NVML played)", 1)
    assert store.get(1).message == (
        "killed at step 1, as it did not stop within 0 s; 3.0 GiB of GPU 0 is still not free"
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_engine_that_the_machine_ends_is_interrupted_and_resumed(
    workspace: Workspace, store: RoundStore, nano_spec: Spec, script: Follow, tried: Tried, times: Times,
    signum: signal.Signals,
) -> None:  # fmt: skip
    script(Script(steps=40, step_seconds=0.01))
    count = times(1, 10)
    lost = 0
    for number in range(1, count + 1):
        run = queue(workspace, nano_spec)
        with runner(workspace):
            await_steps(run, 2 * number)
            os.kill(members(run)[0].pid, signum)
        interrupted = store.get(number)
        Cockpit(workspace, lambda _: None).resume(number)
        with runner(workspace):
            pass
        ends = (interrupted.status, store.get(number).status)
        lost += ends != (Status.INTERRUPTED, Status.FINISHED)
    tried("F17", "SIGTERM or SIGUSR1 to an engine from outside, then resumed", count, lost)
    assert lost == 0


def test_kill_by_the_kernel_for_want_of_memory_is_told_apart(
    workspace: Workspace, store: RoundStore, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch, script: Follow
) -> None:
    counts = [workspace.root / "vmstat", workspace.root / "none"]
    counts[0].write_text("pgfault 5\noom_kill 3\n")
    monkeypatch.setattr("engine.runner.outcome.OOM_KILL_COUNTS", counts)
    script(Script(steps=100_000, step_seconds=0.01))
    for number, kills in ((1, 3), (2, 4)):
        run = queue(workspace, nano_spec)
        with runner(workspace):
            await_steps(run, 2)
            counts[0].write_text(f"pgfault 5\noom_kill {kills}\n")
            os.kill(members(run)[0].pid, signal.SIGKILL)
        words = ", likely the kernel's out-of-memory killer: resume it"
        assert store.get(number).message.endswith(words) is (number == 2)
        assert store.get(number).message.startswith("killed by signal 9 (SIGKILL) at step ")


def test_zombie_is_no_engine(workspace: Workspace, store: RoundStore, nano_spec: Spec, tried: Tried) -> None:
    run = queue(workspace, nano_spec)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True) as child:
        process = identify(child.pid)
        assert process is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not reaped
        run.events.write_bytes(encode_event(Started(time=1.0, process=process)))
        store.update(1, status=Status.RUNNING, process=process)
        with runner(workspace):
            pass
    lost = store.get(1).status is not Status.INTERRUPTED
    tried("F11", "engine that has ended and is not reaped", 1, int(lost))
    assert not lost


def test_strangers_are_neither_waited_for_nor_signalled(
    workspace: Workspace, store: RoundStore, times: Times, tried: Tried
) -> None:
    """Rounds that say they are trained by processes that have this pid now, but are others."""
    own, strangers = own_identity(), []
    for _ in range(3):
        strangers.append(subprocess.Popen([sys.executable, "-c", HELPER], start_new_session=True))
    known = [identify(child.pid) for child in strangers]
    count = times(9, 90)

    def record(number: int) -> Round:
        real = known[number % len(known)]
        assert real is not None
        false = (
            ProcessIdentity("another boot", real.pid, real.start_ticks),
            ProcessIdentity(own.boot_id, real.pid, real.start_ticks - 1),
            ProcessIdentity(own.boot_id, own.pid, own.start_ticks + 7),
        )
        status = Status.STOPPING if number % 2 else Status.RUNNING
        return make_round(number, status, process=false[number % 3], started=1.0)

    for _ in range(count):
        store.add(record)
    with runner(workspace):
        pass
    harmed = sum(child.poll() is not None for child in strangers)
    statuses = [round_.status for round_ in store.rounds()]
    messages = {round_.message for round_ in store.rounds() if round_.status is Status.INTERRUPTED}
    for child in strangers:
        child.kill()
        child.wait()
    tried("F10", "record of an engine whose pid another process has, or of another boot", count, harmed)
    assert harmed == 0
    assert statuses == [Status.STOPPED if n % 2 else Status.INTERRUPTED for n in range(1, count + 1)]
    assert "the machine was restarted: resume it" in messages


def test_runner_asks_for_a_scope_that_outlives_the_logout(
    workspace: Workspace, cockpit: Cockpit, store: RoundStore, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch,
    script: Follow, tried: Tried,
) -> None:  # fmt: skip
    """systemd's programs are played by scripts: no user manager is to be had in a container."""
    programs = workspace.root / "bin"
    programs.mkdir()
    (programs / "loginctl").write_text("#!/bin/sh\necho yes\n")
    (programs / "busctl").write_text(f'#!/bin/sh\necho "$@" >> {workspace.root}/asked\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    script(Script(steps=2))
    cockpit.queue(nano_spec)
    await_status(store, 1, Status.FINISHED)
    asked = (workspace.root / "asked").read_text()
    end_processes_of(workspace.root)
    tried("F7", "runner moves to a scope of its own where lingering is on (systemd played by scripts)", 1)
    assert asked.count("StartTransientUnit") == 1

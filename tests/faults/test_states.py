"""Hangup and kill of the front end, of the runner and of the engine, in every state that a round can be in."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import product

import pytest

from engine.api import Cockpit
from engine.files.paths import RunDir, Workspace
from engine.runs.engine_contract import RUN_VARIABLE, run_key
from engine.runs.event_log import read_events
from engine.runs.events import Started
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.system.process import processes_with
from tests.support.fake_engine import GATE, Script, result_at
from tests.support.fake_loratui import FRONT_END_COMMAND
from tests.support.faults.tried import Tried
from tests.support.processes import end_processes_of, processes_of, start_fake_runner
from tests.support.terminal import Terminal
from tests.support.waiting import await_status, await_true

STEPS = 4
PHASES = ("starting", "loading", "training", "evaluating", "saving")
STATES = ("queued", *PHASES, "stopping")
SIGNALS = (signal.SIGHUP, signal.SIGKILL)
FAULT_OF = {"front end": "F6", "runner": "F15", "engine": "F16"}


class Scene:
    """A workspace with a round held in `state`, a front end on a terminal, the runner it started, and the engine."""

    def __init__(self, workspace: Workspace, spec: Spec, state: str, terminal: Terminal) -> None:
        self.workspace = workspace
        self.store = RoundStore(workspace)
        self.cockpit = Cockpit(workspace, start_fake_runner)
        self.terminal = terminal
        self.state = state
        self.trained = self.run(1)

    def run(self, number: int) -> RunDir:
        return self.workspace.run_dir(self.store.get(number).id)

    def await_state(self) -> None:
        await_true(lambda: self.engine() is not None, "an engine")
        phase = self.state if self.state in PHASES else "training"
        if phase != "starting":
            await_true(lambda: self._phase() == phase, f"the phase {phase}")
        await_true(lambda: self.store.get(1).process is not None, "the engine in the store")
        if self.state == "stopping":
            self.cockpit.stop(1)

    def _phase(self) -> str:
        phase = RunSnapshot(read_events(self.trained.events)).phase
        return phase.name if phase is not None else ""

    def engine(self) -> int | None:
        found = processes_with(RUN_VARIABLE, run_key(self.trained))
        return found[0].pid if found else None

    def runner(self) -> int:
        return next(
            process.pid for process in processes_of(self.workspace.root) if "fake_runner" in str(process.cmdline())
        )

    def strike(self, victim: str, signum: signal.Signals) -> None:
        front_end = self.terminal.process.pid
        pid = {"front end": front_end, "runner": self.runner(), "engine": self.engine()}[victim]
        assert pid is not None
        os.kill(pid, signum)
        if signum is signal.SIGKILL and victim != "front end":
            await_true(lambda: not os.path.exists(f"/proc/{pid}/exe") or not _lives(pid), f"the end of the {victim}")

    def open_gates(self) -> None:
        for round_ in self.store.rounds():
            (self.run(round_.number).path / GATE).touch()

    def started(self, number: int) -> list[Started]:
        return [event for event in read_events(self.run(number).events) if isinstance(event, Started)]


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def expected_statuses(state: str, victim: str, signum: signal.Signals) -> list[Status]:
    """Of the round that is struck and, if there is one, of the round behind it."""
    struck = Status.STOPPED if state == "stopping" else Status.FINISHED
    if victim == "engine" and signum is signal.SIGKILL and state != "stopping":
        struck = Status.INTERRUPTED
    return [struck, Status.FINISHED] if state == "queued" else [struck]


@pytest.mark.long
@pytest.mark.parametrize("victim", ["front end", "runner", "engine"])
def test_round_ends_as_it_should_whoever_is_struck_in_whatever_state(
    victim: str,
    tmp_path_factory: pytest.TempPathFactory,
    nano_spec: Spec,
    script: Callable[[Script], None],
    times: Callable[[int, int], int],
    tried: Tried,
) -> None:
    cases = list(product(STATES, SIGNALS))
    chosen = cases[:: len(cases) // times(1, len(cases))]
    failures = []
    for state, signum in chosen:
        steps = 100_000 if state == "stopping" else STEPS  # so that it does not finish before it hears of the stop
        script(Script(steps=steps, step_seconds=0.01, wait_in=state if state in PHASES else "training"))
        workspace = Workspace(tmp_path_factory.mktemp("workspace"))
        try:
            _play(workspace, nano_spec, state, victim, signum)
        except (AssertionError, pytest.fail.Exception) as failure:
            failures.append(f"{state}, {signum.name}: {failure}")
        finally:
            end_processes_of(workspace.root)
    tried(FAULT_OF[victim], f"{victim} hung up or killed in every state of a round", len(chosen), len(failures))
    if victim == "front end":
        tried("F13", "engine and runner outlive the front end that started them", len(chosen), len(failures))
    assert not failures, "\n".join(failures)


def _play(workspace: Workspace, spec: Spec, state: str, victim: str, signum: signal.Signals) -> None:
    store = RoundStore(workspace)
    store.create()
    idle = Cockpit(workspace, lambda _: None)
    for _ in range(2 if state == "queued" else 1):
        idle.queue(spec)
    with Terminal([*FRONT_END_COMMAND, str(workspace.root)], workspace.root) as terminal:
        scene = Scene(workspace, spec, state, terminal)
        scene.await_state()
        scene.strike(victim, signum)
        scene.open_gates()
        scene.cockpit.runner.wake()
        wanted = expected_statuses(state, victim, signum)
        for number, status in enumerate(wanted, 1):
            _check(scene, await_status(store, number, status))
        if wanted[0] is Status.INTERRUPTED:
            scene.cockpit.resume(1)
            _check(scene, await_status(store, 1, Status.FINISHED), engines=(1, 2))
        await_true(lambda: not processes_with(RUN_VARIABLE, run_key(scene.trained)), "the engine's end")


def _check(scene: Scene, round_: Round, engines: tuple[int, ...] = (0, 1)) -> None:
    assert len(scene.started(round_.number)) in engines
    assert round_.process is None
    if round_.status is Status.FINISHED:
        assert round_.result == result_at(STEPS, STEPS, f"runs/{round_.id}/adapter")

"""Sweeps that a runner trains, with the fake engine in the engine's place."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from engine.api import Cockpit
from engine.errors import LoratuiError, RoundError, SpecError, StoreError
from engine.files.paths import RunDir, Workspace
from engine.runner import queue as runner_module
from engine.runner.queue import Runner
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.sweeps import sweep_queue
from engine.sweeps.progress import Progress
from engine.sweeps.sampling import Sampler
from tests.support.fake_engine import Script
from tests.support.fake_runner import fake_engine_command
from tests.support.processes import processes_of
from tests.support.waiting import await_true

NewSweep = Callable[..., Progress]


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(sweep_queue, "PAUSE_SECONDS", 0.01)


@pytest.fixture
def new_sweep(idle_cockpit: Cockpit, nano_spec: Spec) -> NewSweep:
    """Begin a sweep with no runner behind."""
    return begin(idle_cockpit, nano_spec)


def begin(cockpit: Cockpit, spec: Spec) -> NewSweep:
    def new(*settings: str, **options: Any) -> Progress:
        options.setdefault("sampler", "grid")
        return cockpit.sweeps.new(lambda single: spec, settings or ("lora.r=4,8", "lora.lora_alpha=2*r"), **options)

    return new


def run(workspace: Workspace, script: Callable[[RunDir], Script] = lambda run: Script(steps=2)) -> None:
    """Run the queue here to its end."""

    def command(run: RunDir) -> list[str]:
        variables = script(run).environment()
        return ["env", *(f"{name}={value}" for name, value in variables.items()), *fake_engine_command(run)]

    Runner(workspace, command).run()


def points(rounds: list[Round]) -> list[tuple[int, int]]:
    return sorted((each.spec.lora.r, each.spec.lora.lora_alpha) for each in rounds)


def test_grid_is_trained_whole(workspace: Workspace, store: RoundStore, new_sweep: NewSweep) -> None:
    progress = new_sweep("lora.r=4,8", "lora.lora_alpha=8,16,32", name="rank", note="Which rank?")
    assert progress.status == "running" and progress.sweep.trials == 6
    run(workspace)
    rounds = store.rounds()
    assert points(rounds) == [(r, alpha) for r in (4, 8) for alpha in (8, 16, 32)]
    assert {each.status for each in rounds} == {Status.FINISHED} and {each.name for each in rounds} == {"rank"}
    assert all(each.trial is not None and each.trial.point["lora.r"] == str(each.spec.lora.r) for each in rounds)


def test_dependent_field_follows(workspace: Workspace, store: RoundStore, new_sweep: NewSweep) -> None:
    new_sweep()
    run(workspace)
    assert points(store.rounds()) == [(4, 8), (8, 16)]


def test_repeats_differ_in_their_seed(workspace: Workspace, store: RoundStore, new_sweep: NewSweep) -> None:
    progress = new_sweep("lora.r=4,8", repeats=2)
    run(workspace)
    seed = progress.sweep.spec.train.seed
    seeds = Counter((each.spec.lora.r, each.spec.train.seed) for each in store.rounds())
    assert seeds == Counter({(r, seed + repeat): 1 for r in (4, 8) for repeat in (0, 1)})


def test_what_a_person_queues_goes_first(
    workspace: Workspace, store: RoundStore, new_sweep: NewSweep, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    new_sweep()
    own = idle_cockpit.queue(nano_spec, name="own")
    run(workspace)
    assert min(store.rounds(), key=lambda each: each.started or 0.0).number == own.number


def test_two_sweeps_take_turns(workspace: Workspace, store: RoundStore, new_sweep: NewSweep) -> None:
    new_sweep("lora.r=4,8")
    new_sweep("lora.r=16,32")
    run(workspace)
    assert [each.trial and each.trial.sweep for each in store.rounds()] == [1, 2, 1, 2]


def test_failed_trial_is_tried_again_once_and_the_sweep_goes_on(
    workspace: Workspace, store: RoundStore, new_sweep: NewSweep, idle_cockpit: Cockpit
) -> None:
    new_sweep("lora.r=4,8")
    broken = 8

    def script(run: RunDir) -> Script:
        rank = next(each.spec.lora.r for each in RoundStore(workspace).rounds() if each.id == run.name)
        return Script(steps=2, quit_at=1 if rank == broken else None)

    run(workspace, script)
    outcomes = Counter((each.spec.lora.r, each.status) for each in store.rounds())
    assert outcomes == Counter({(4, Status.FINISHED): 1, (8, Status.FAILED): 2})
    assert idle_cockpit.sweeps.get(1).status == "finished"


def test_stopped_sweep_holds_what_waits_and_goes_on_another_day(
    workspace: Workspace, store: RoundStore, new_sweep: NewSweep, idle_cockpit: Cockpit
) -> None:
    new_sweep("lora.r=4,8,16", trials=2)
    look = sweep_queue.SweepQueue(workspace, store)
    await_true(lambda: look.look() is not None, "the first trial")
    look.close()
    assert idle_cockpit.sweeps.stop(1).status == "stopped" and store.get(1).status is Status.HELD
    run(workspace)
    assert store.get(1).status is Status.HELD and len(store.rounds()) == 1
    assert idle_cockpit.sweeps.resume(1, trials=9).sweep.trials == 3  # all there are
    run(workspace)
    assert [each.status for each in store.rounds()] == [Status.FINISHED] * 3


def test_sweep_whose_points_cannot_be_chosen_is_stopped_with_the_reason(
    workspace: Workspace, new_sweep: NewSweep, idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(sampler: Sampler, progress: Progress) -> None:
        raise LoratuiError("the sampler is gone")

    monkeypatch.setattr(Sampler, "next_point", refuse)
    new_sweep()
    run(workspace)
    sweep = idle_cockpit.sweeps.get(1).sweep
    assert sweep.stopped is not None and sweep.message == "the sampler is gone"


def test_sweep_that_is_removed_while_its_next_point_is_chosen_queues_nothing(
    workspace: Workspace, store: RoundStore, new_sweep: NewSweep, idle_cockpit: Cockpit
) -> None:
    new_sweep()
    queue = sweep_queue.SweepQueue(workspace, store)
    assert queue.look() is None  # it chooses
    idle_cockpit.sweeps.remove(1)
    await_true(lambda: queue.look() is None and not queue.wants_trial(), "the end of the choice")
    queue.close()
    assert store.rounds() == []


def test_lock_that_cannot_be_had_is_one_sentence(workspace: Workspace, new_sweep: NewSweep) -> None:
    workspace.sweeps_dir.write_text("a file in its place")
    with pytest.raises(StoreError, match=r"sweeps\.lock cannot be locked: sweeps is not a directory"):
        new_sweep()


def test_removed_sweep_leaves_its_rounds_in_the_trash_and_its_number_unused(
    workspace: Workspace, store: RoundStore, new_sweep: NewSweep, idle_cockpit: Cockpit
) -> None:
    new_sweep()
    run(workspace)
    idle_cockpit.sweeps.remove(1)
    assert store.rounds() == [] and [each.number for each in store.removed()] == [1, 2]
    with pytest.raises(RoundError, match="there is no sweep 1"):
        idle_cockpit.sweeps.get(1)
    assert new_sweep().sweep.number == 2


def test_sweep_that_nothing_ends_or_that_cannot_begin_is_refused(new_sweep: NewSweep, workspace: Workspace) -> None:
    with pytest.raises(SpecError, match="nothing ends this sweep"):
        new_sweep("train.learning_rate=1e-5..1e-3 log", sampler="tpe")
    with pytest.raises(SpecError, match="has no single values to make a grid of"):
        new_sweep("train.learning_rate=1e-5..1e-3 log", trials=3)
    with pytest.raises(SpecError, match=r"train\.seed has several values"):
        new_sweep("train.seed=1,2", repeats=2)
    with pytest.raises(SpecError, match="must be"):
        new_sweep("lora.r=8,9", "lora.lora_alpha=r/2")
    assert not workspace.sweeps_dir.exists()


def test_no_trial_is_lost_or_trained_twice_whatever_is_killed(
    cockpit: Cockpit,
    workspace: Workspace,
    nano_spec: Spec,
    script: Callable[[Script], None],
    times: Callable[[int, int], int],
) -> None:
    """Kill runner and engines again and again: in the end each point has one finished round."""
    count = times(8, 100)
    script(Script(steps=4, step_seconds=0.02))
    begin(cockpit, nano_spec)(f"train.seed=1..{count}", trials=count)
    ended, kills = threading.Event(), 0
    pause = 0.6  # a runner takes about as long to start
    while not ended.wait(pause):
        for process in processes_of(workspace.root):
            os.kill(process.pid, signal.SIGKILL)
        kills += 1
        pause = 0.6 + 0.37 * (kills % 5)
        if kills >= count or cockpit.sweeps.get(1).status == "finished":
            ended.set()
        cockpit.runner.wake()

    def is_finished() -> bool:
        cockpit.runner.wake()
        return cockpit.sweeps.get(1).status == "finished"

    await_true(is_finished, "the end of the sweep")
    progress = cockpit.sweeps.get(1)
    seeds = [each.point["train.seed"] for each in progress.settings]
    assert sorted(map(int, seeds)) == [*range(1, count + 1)]
    trained = Counter(each.spec.train.seed for each in cockpit.store.rounds() if each.status is Status.FINISHED)
    assert max(trained.values()) == 1, trained

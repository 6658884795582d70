"""The queue foretold over a workspace: who trains where, what is known of it, and whether anybody is at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pytest
from filelock import FileLock

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.planning.durations.queue_times import ExpectedTimes, QueueTimes
from engine.planning.durations.remaining import Span
from engine.runner import queue_outlook
from engine.runner.queue_outlook import QueueOutlook, look_ahead, progress_of
from engine.runs.event_log import EventWriter
from engine.runs.events import Step
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status
from engine.system.telemetry import GpuProcess, GpuSample
from tests.support.rounds import make_round, make_spec

GIB = 2**30
NOW = 9000.0
SECONDS = 100.0  # that a round of these takes


def round_of(number: int, status: Status, gpu: str | None = None, **settings: object) -> Round:
    """A round of 100 rows; if it has finished, in 100 s."""
    spec = make_spec(data__eval_fraction=0, **settings)
    plan = make_plan(spec, 100)
    started, ended = (NOW - 500, NOW - 500 + SECONDS) if status is Status.FINISHED else (NOW - 40, None)
    result = Result(train_seconds=SECONDS, step=plan.total_steps) if status is Status.FINISHED else Result()
    return make_round(
        number, status, spec=spec, plan=plan, result=result, gpu=gpu, turn=float(number),
        started=None if status in (Status.QUEUED, Status.HELD) else started, ended=ended,
    )  # fmt: skip


def card(index: int, *pids: int) -> GpuSample:
    processes = tuple(GpuProcess(pid, GIB) for pid in pids)
    return GpuSample(index, "Tesla T4", GIB, 15 * GIB, 0, 40, 30.0, uuid=f"GPU-{index}", processes=processes)


@pytest.fixture
def at_work(workspace: Workspace) -> Iterator[None]:
    """A runner has the lock of the workspace."""
    workspace.runs_dir.mkdir(exist_ok=True)
    with FileLock(workspace.runner_lock):
        yield


def outlook(
    monkeypatch: pytest.MonkeyPatch, cockpit: Cockpit, rounds: Sequence[Round], cards: Sequence[GpuSample] = ()
) -> QueueOutlook:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(queue_outlook, "sample_gpus", lambda: (tuple(cards), ""))
    return look_ahead(cockpit.runner, rounds)


def starts(times: QueueTimes) -> dict[int, float]:
    """Return the seconds from now to each start that is known."""
    return {number: each.starts.likely - NOW for number, each in times.rounds.items() if each.starts is not None}


@pytest.mark.usefixtures("at_work")
def test_rounds_start_one_after_the_other_and_held_ones_do_not(
    idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Round 2 has run for 40 of 100 s."""
    statuses = (Status.FINISHED, Status.RUNNING, Status.QUEUED, Status.HELD, Status.QUEUED)
    rounds = [round_of(number, status) for number, status in enumerate(statuses, 1)]
    times = outlook(monkeypatch, idle_cockpit, rounds).times(rounds, {}, NOW)
    assert starts(times) == {3: 60.0, 5: 160.0}
    assert times.done is not None and times.done.likely == NOW + 260
    moved = [msgspec.structs.replace(each, turn=-each.number) for each in rounds]
    assert starts(outlook(monkeypatch, idle_cockpit, rounds).times(moved, {}, NOW)) == {5: 60.0, 3: 160.0}


@pytest.mark.usefixtures("at_work")
def test_each_card_takes_a_round(idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card 2 is somebody else's. Round 2 trains on card 0 for 60 s more; card 1 is free."""
    rounds = [
        round_of(1, Status.FINISHED, "GPU-1"), round_of(2, Status.RUNNING, "GPU-0"),
        *(round_of(number, Status.QUEUED) for number in (3, 4, 5)),
    ]  # fmt: skip
    cards = [card(0, 70), card(1), card(2, 99)]
    ahead = outlook(monkeypatch, idle_cockpit, rounds, cards)
    assert ahead.gpus == {"GPU-0", "GPU-1"}
    assert starts(ahead.times(rounds, {}, NOW)) == {3: 0.0, 4: 60.0, 5: 100.0}
    with_all_cards = msgspec.structs.replace(rounds[1], gpu=None)  # as where CUDA_VISIBLE_DEVICES named one
    assert starts(ahead.times([rounds[0], with_all_cards, *rounds[2:4]], {}, NOW)) == {3: 60.0, 4: 60.0}


@pytest.mark.usefixtures("at_work")
def test_one_round_trains_at_once_on_a_single_card_and_where_others_have_all(
    idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = [round_of(1, Status.FINISHED), *(round_of(number, Status.QUEUED) for number in (2, 3))]
    assert starts(outlook(monkeypatch, idle_cockpit, rounds, [card(0, 99)]).times(rounds, {}, NOW)) == {2: 0, 3: 100}
    rounds[0] = round_of(1, Status.FINISHED, "GPU-1")
    cards = [card(0, 98), card(1, 99)]
    assert starts(outlook(monkeypatch, idle_cockpit, rounds, cards).times(rounds, {}, NOW)) == {2: 0, 3: 100}


@pytest.mark.usefixtures("at_work")
def test_round_like_no_other_names_itself_to_those_behind_it(
    idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = [
        round_of(1, Status.FINISHED), round_of(2, Status.QUEUED, lora__use_dora=True), round_of(3, Status.QUEUED),
    ]  # fmt: skip
    times = outlook(monkeypatch, idle_cockpit, rounds).times(rounds, {}, NOW)
    assert times.rounds[2].starts == Span(NOW, NOW, NOW) and times.rounds[3] == ExpectedTimes(after=(2,))
    assert times.done is None


def test_nothing_starts_without_a_runner(idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs still ends."""
    rounds = [round_of(1, Status.FINISHED), round_of(2, Status.RUNNING), round_of(3, Status.QUEUED)]
    times = outlook(monkeypatch, idle_cockpit, rounds).times(rounds, {}, NOW)
    assert starts(times) == {} and times.done is None
    assert [number for number, each in times.rounds.items() if each.ends is not None] == [2]


@pytest.mark.usefixtures("at_work")
def test_nobody_who_only_reads_takes_the_lock(workspace: Workspace, idle_cockpit: Cockpit) -> None:
    assert idle_cockpit.runner.is_at_work()
    assert not Cockpit(workspace, lambda _: None, readonly=True).runner.is_at_work()


@pytest.mark.usefixtures("at_work")
def test_progress_is_read_from_the_events(idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps took 8 s, and 8 of 12 are to come."""
    rounds = [round_of(1, Status.RUNNING), round_of(2, Status.RUNNING), round_of(3, Status.QUEUED)]
    assert rounds[0].plan.total_steps == 12
    run = idle_cockpit.workspace.run_dir(rounds[0].id)
    run.path.mkdir(parents=True)
    writer = EventWriter(run.events)
    writer.append(
        Step(time=NOW, step=4, epoch=0.5, loss=1.0, learning_rate=1e-4, grad_norm=1.0, tokens=9, seconds=2.0,
             train_seconds=8.0, trained_tokens=36, memory_bytes=GIB)
    )  # fmt: skip
    writer.close()
    progress = progress_of(idle_cockpit.workspace, [rounds[0], rounds[2]])
    assert {number: each.remaining_seconds for number, each in progress.items()} == {1: 16.0}
    waiting = outlook(monkeypatch, idle_cockpit, rounds).times([rounds[0], rounds[2]], progress, NOW)
    assert starts(waiting) == {3: 16.0}

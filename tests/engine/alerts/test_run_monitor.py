from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.alerts.run_monitor import Alarm, Kind, RunMonitor, RunProgress, ending_alarm
from engine.files.paths import RunDir
from engine.runs.disk_forecast import DiskNeed
from engine.runs.event_log import EventWriter
from engine.runs.events import AnyEvent, Evaluated, Phase, Prepared, Started, Step
from engine.runs.run_tail import RunTail
from engine.spec.round import Result, Status
from engine.system.process import own_identity
from tests.support.rounds import make_round

ROUND = make_round(7, Status.RUNNING, name="long")
BEGIN = 1000.0


def step(number: int, loss: float = 1.0) -> Step:
    return Step(
        time=BEGIN + number, step=number, epoch=0.1, loss=loss, learning_rate=1e-4, grad_norm=1.0, tokens=10,
        seconds=2.0, train_seconds=2.0 * number, trained_tokens=10 * number,
    )  # fmt: skip


def evaluated(number: int, loss: float) -> Evaluated:
    return Evaluated(time=BEGIN + number, step=number, eval_loss=loss, perplexity=math.exp(loss), supervised_tokens=9)


class Watched:
    """A run to write events of, and what its watch tells."""

    def __init__(self, run: RunDir, since: float = BEGIN) -> None:
        run.path.mkdir(parents=True)
        self.writer = EventWriter(run.events)
        self.tail = RunTail(run.events)
        self.monitor = RunMonitor(ROUND, run, since)

    def append(self, *events: AnyEvent) -> list[Alarm]:
        for event in events:
            self.writer.append(event)
        return self.monitor.take(self.tail.poll())


@pytest.fixture
def watched(empty_directory: Path) -> Watched:
    return Watched(RunDir(empty_directory / "runs" / "0007"))


def started(at: float, resumed_from: int | None = None) -> Started:
    return Started(time=at, process=own_identity(), resumed_from=resumed_from)


def test_loss_that_is_not_finite_is_reported_once(watched: Watched) -> None:
    assert watched.append(started(BEGIN), step(1), step(2)) == []
    expected = Alarm(Kind.NAN, 7, "round 7 (long): the training loss is not finite at step 3")
    assert watched.append(step(3, math.nan)) == [expected]
    assert watched.append(step(4, math.inf), evaluated(4, math.nan)) == []


def test_resumed_round_is_reported_again(watched: Watched) -> None:
    assert [alarm.kind for alarm in watched.append(started(BEGIN), step(1, math.nan))] == [Kind.NAN]
    assert watched.append(started(BEGIN + 5, resumed_from=0)) == []
    assert [alarm.kind for alarm in watched.append(step(2, math.nan))] == [Kind.NAN]


def test_what_happened_before_anyone_watched_is_no_news(empty_directory: Path) -> None:
    watched = Watched(RunDir(empty_directory / "runs" / "0007"), since=BEGIN + 3.5)
    assert watched.append(started(BEGIN), step(1), step(2), step(3, math.nan)) == []
    assert watched.append(step(4, math.nan)) == []


def test_eval_loss_without_a_gain_is_a_plateau(watched: Watched) -> None:
    assert watched.append(evaluated(0, 1.0), evaluated(10, 2.0), evaluated(20, 1.5), evaluated(30, 1.6)) == []
    message = "round 7 (long): the eval loss has not fallen below 1.5000 in 2 evaluations"
    assert watched.append(evaluated(40, 1.5)) == [Alarm(Kind.PLATEAU, 7, message)]
    assert watched.append(evaluated(50, 1.7)) == []


def test_flat_training_loss_is_a_plateau(watched: Watched) -> None:
    alarms = watched.append(*(step(number) for number in range(1, 201)))
    assert [alarm.kind for alarm in alarms] == [Kind.PLATEAU]
    assert "flat over the last third" in alarms[0].message


def test_progress_is_known(watched: Watched) -> None:
    prepared = Prepared(
        time=BEGIN, device="cpu", dtype="float32", parameters=1, trainable_parameters=1, train_samples=1,
        eval_samples=1, total_steps=100, steps_per_epoch=50,
    )  # fmt: skip
    watched.append(started(BEGIN))
    assert watched.monitor.progress() == RunProgress("", None, ROUND.plan.total_steps, None)
    watched.append(prepared, *(step(number, 1 / number) for number in range(1, 26)))
    need = DiskNeed(2, 12, 4, measured=False)  # after 50 and 100 steps, of a single trained parameter
    assert watched.monitor.progress() == RunProgress("", 25, 100, 75 * 2.0, need)
    watched.append(Phase(time=BEGIN, name="evaluating"))
    assert watched.monitor.progress().phase == "evaluating"


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (Status.FINISHED, "", "round 7 (long): finished: perplexity 3.32"),
        (Status.FAILED, "out of memory", "round 7 (long): failed: out of memory"),
        (Status.INTERRUPTED, "killed", "round 7 (long): interrupted: killed"),
    ],
)
def test_end_is_told(status: Status, message: str, words: str) -> None:
    round_ = make_round(7, status, name="long", message=message, result=Result(perplexity=3.32))
    alarm = ending_alarm(round_)
    assert alarm is not None and alarm.message == words
    assert alarm.kind is (Kind.FINISHED if status is Status.FINISHED else Kind.FAILED)


@pytest.mark.parametrize("status", [Status.STOPPED, Status.RUNNING, Status.QUEUED, Status.HELD])
def test_what_somebody_asked_for_is_not_told(status: Status) -> None:
    assert ending_alarm(make_round(7, status)) is None

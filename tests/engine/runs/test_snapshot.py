from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files.paths import RunDir
from engine.runs.events import (
    AnyEvent,
    Evaluated,
    Failed,
    Finished,
    Interrupted,
    Phase,
    Prepared,
    Provenance,
    Sampled,
    Saved,
    Started,
    Stopped,
    Warned,
)
from engine.runs.snapshot import RunSnapshot, circumstances_of
from engine.spec.round import Result, SecondsBesideSteps, Status
from engine.system.process import ProcessIdentity
from tests.support.steps import step

PREPARED = Prepared(
    time=900.0,
    device="cpu",
    dtype="float32",
    parameters=10,
    trainable_parameters=1,
    train_samples=90,
    eval_samples=10,
    total_steps=100,
    steps_per_epoch=50,
)


def started(resumed_from: int | None = None, pid: int = 1) -> Started:
    return Started(time=890.0, process=ProcessIdentity("boot", pid, 1), resumed_from=resumed_from)


def evaluated(number: int, loss: float) -> Evaluated:
    return Evaluated(
        time=999.0, step=number, eval_loss=loss, perplexity=round(math.exp(loss), 2), supervised_tokens=500
    )


def sampled(number: int, text: str) -> Sampled:
    return Sampled(time=999.0, step=number, prompt="Say it", expected="it", text=text)


def saved(number: int, path: str = "", final: bool = False) -> Saved:
    return Saved(time=999.0, step=number, path=path or f"checkpoints/step-{number}", final=final)


def test_run_without_events_knows_nothing() -> None:
    run = RunSnapshot()
    state = [run.started, run.phase, run.prepared, run.last_step, run.status, run.last_time]
    state += [run.tokens_per_second(), run.remaining_seconds()]
    assert state == [None] * 8
    assert (run.message, run.result, len(run.curve)) == ("", Result(), 0)


def test_running_run_shows_its_progress() -> None:
    training = Phase(time=950.0, name="training")
    run = RunSnapshot([started(), PREPARED, evaluated(0, 3.0), training, step(1, loss=2.5), step(2, loss=2.0)])
    assert run.status is None
    assert (run.phase, run.prepared, run.last_step) == (training, PREPARED, step(2, loss=2.0))
    assert (list(run.curve.steps), list(run.curve.losses)) == ([1, 2], [2.5, 2.0])
    assert run.last_time == 1002.0
    assert run.result == Result(
        base_perplexity=20.09, train_seconds=2.0, trained_tokens=200, peak_memory_bytes=2**30 + 2
    )


def test_lost_loss_is_a_gap_in_the_curve() -> None:
    assert math.isnan(RunSnapshot([step(1, loss=None)]).curve.losses[0])


def test_last_evaluation_after_training_counts() -> None:
    run = RunSnapshot([evaluated(0, 3.0), step(1), evaluated(50, 2.0), evaluated(100, 1.0)])
    assert (run.result.base_perplexity, run.result.eval_loss, run.result.perplexity) == (20.09, 1.0, 2.72)
    assert run.result.step == 100


RESULT = Result(eval_loss=1.0, perplexity=2.72, adapter_dir="runs/x/adapter")


@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [
        (Finished(time=2000.0, result=RESULT), Status.FINISHED, ""),
        (Stopped(time=2000.0, step=3, message="stopped"), Status.STOPPED, "stopped"),
        (Interrupted(time=2000.0, step=3, message="preempted"), Status.INTERRUPTED, "preempted"),
        (Failed(time=2000.0, message="no memory"), Status.FAILED, "no memory"),
    ],
)
def test_ending_gives_status_and_message(ending: AnyEvent, status: Status, message: str) -> None:
    run = RunSnapshot([started(), step(3), ending])
    assert (run.status, run.message, run.last_time) == (status, message, 2000.0)
    expected = (
        RESULT
        if status is Status.FINISHED
        else Result(train_seconds=3.0, trained_tokens=300, peak_memory_bytes=2**30 + 3)
    )
    assert run.result == expected


@pytest.mark.parametrize("ending", [[], [Finished(time=9.0, result=Result(perplexity=2.72))]])
def test_result_says_which_rows_it_is_over(ending: list[AnyEvent]) -> None:
    provenance = [Provenance(time=1.0, held_out_rows="before"), Provenance(time=2.0, held_out_rows="c0ffee")]
    assert RunSnapshot([started(), *provenance, *ending]).result.held_out_rows == "c0ffee"
    assert RunSnapshot([started(), Provenance(time=1.0), *ending]).result.held_out_rows is None


def test_same_warning_is_kept_once() -> None:
    warnings = [Warned(time=1.0, message=text) for text in ("a", "b", "a")]
    assert RunSnapshot(warnings).warnings == ["a", "b"]


def test_resumed_run_repeats_the_steps_after_its_checkpoint() -> None:
    before: list[AnyEvent] = [
        *(started(), PREPARED, evaluated(0, 3.0)),
        *(step(number, loss=float(number)) for number in range(1, 6)),
        *(saved(5), evaluated(5, 2.0), step(6, loss=6.0), evaluated(6, 1.5), step(7, loss=7.0)),
        Interrupted(time=1500.0, step=7, message="preempted"),
    ]
    run = RunSnapshot([*before, started(resumed_from=5, pid=2)])
    assert (run.status, run.message, run.phase) == (None, "", None)
    assert run.started is not None and run.started.process.pid == 2
    assert list(run.curve.steps) == list(run.curve.losses) == [1, 2, 3, 4, 5]
    assert len(run.curve.seconds) == len(run.curve.tokens) == 5
    assert run.evaluations == [evaluated(0, 3.0), evaluated(5, 2.0)]
    assert run.last_step == step(5, loss=5.0)
    assert run.result.train_seconds == 5.0
    run.apply(step(6, loss=0.625))
    assert list(run.curve.losses) == [1, 2, 3, 4, 5, 0.625]
    assert run.last_step == step(6, loss=0.625)


def test_run_that_starts_over_forgets_its_steps_and_what_it_measured() -> None:
    before: list[AnyEvent] = [started(), evaluated(0, 3.0), sampled(0, "one"), step(1), step(2)]
    run = RunSnapshot([*before, started()])
    assert (len(run.curve), run.last_step, run.result.train_seconds) == (0, None, None)
    assert (run.evaluations, run.samples) == ([], [])
    assert RunSnapshot([*before, started(resumed_from=1)]).samples == [sampled(0, "one")]
    later = [*before, evaluated(2, 2.0), sampled(2, "two")]
    assert RunSnapshot([*later, started(resumed_from=2)]).samples == [sampled(0, "one"), sampled(2, "two")]
    assert RunSnapshot([*later, started(resumed_from=1)]).samples == [sampled(0, "one")]


def test_resume_from_the_last_step_forgets_nothing() -> None:
    run = RunSnapshot([started(), step(1), step(2), saved(2), Stopped(time=1.0, step=2, message="m"), started(2)])
    assert list(run.curve.steps) == [1, 2]
    assert run.last_step == step(2)


def test_pace_is_that_of_the_last_twenty_steps() -> None:
    run = RunSnapshot([PREPARED, *(step(number, seconds=100.0, tokens=1) for number in range(1, 31))])
    for number in range(31, 41):
        run.apply(step(number, seconds=2.0, tokens=400))
    for number in range(41, 51):
        run.apply(step(number, seconds=4.0, tokens=500))
    # 10 steps of 2 s and 10 of 4 s: 3 s a step, 50 steps ahead; 4,000 + 5,000 tokens in 60 s
    assert run.remaining_seconds() == pytest.approx(150.0)
    assert run.tokens_per_second() == pytest.approx(150.0)


def test_nothing_remains_after_the_last_step() -> None:
    assert RunSnapshot([PREPARED, step(100)]).remaining_seconds() == 0


def test_steps_that_took_no_time_have_no_pace() -> None:
    assert RunSnapshot([PREPARED, step(1, seconds=0.0)]).tokens_per_second() is None


def test_best_is_the_earliest_of_the_lowest_and_never_the_base() -> None:
    losses = [(0, 0.5), (10, 2.0), (20, 1.5), (30, 1.7), (40, 1.5)]
    run = RunSnapshot([evaluated(number, loss) for number, loss in losses])
    assert [evaluated.step for evaluated in run.best_first()] == [20, 40, 30, 10]
    assert run.evaluations_without_gain() == 2
    assert RunSnapshot([evaluated(0, 0.5)]).evaluations_without_gain() == 0


@given(st.lists(st.integers(1, 4).map(float), min_size=1, max_size=12))
def test_evaluations_without_gain_are_counted_as_transformers_counts_its_patience(losses: list[float]) -> None:
    """`EarlyStoppingCallback.check_metric_value`, with `greater_is_better` false and no threshold."""
    best, counter = math.inf, 0
    for loss in losses:
        best, counter = (loss, 0) if loss < best else (best, counter + 1)
    run = RunSnapshot([evaluated(number, loss) for number, loss in enumerate(losses, 1)])
    assert run.evaluations_without_gain() == counter


def test_finished_round_says_what_its_spec_does_not_show() -> None:
    run = RunSnapshot([started(), Finished(time=1.0, result=Result(), message="ended early after step 2 of 3")])
    assert (run.status, run.message) == (Status.FINISHED, "ended early after step 2 of 3")


def test_circumstances_are_those_of_the_last_run(tmp_path: Path) -> None:
    started = Started(time=1.0, process=ProcessIdentity("b", 1, 1))
    resumed = Started(time=9.0, process=ProcessIdentity("b", 2, 2), resumed_from=50)
    run = RunDir(tmp_path)
    sizes = {"adapter/a": 5, "checkpoints/checkpoint-1/b": 20, "checkpoints/checkpoint-1/c": 300, "checkpoints/d": 4000}
    nothing = {"device": "", "resumed_from": None, "disk_bytes": None, "beside_steps": None}
    assert circumstances_of(RunSnapshot([started]), run) == nothing
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert circumstances_of(RunSnapshot([started, PREPARED, resumed]), run) == {
        "device": "cpu", "resumed_from": 50, "disk_bytes": 325, "beside_steps": None
    }  # fmt: skip


def test_circumstances_of_a_damaged_log_are_numbers_that_can_be_stored(tmp_path: Path) -> None:
    started = Started(time=1.0, process=ProcessIdentity("b", 1, 1), resumed_from=10**400)
    prepared = msgspec.structs.replace(PREPARED, device="\x1b[31m")
    circumstances = circumstances_of(RunSnapshot([started, prepared]), RunDir(tmp_path))
    assert circumstances == {"device": "", "resumed_from": 2**53, "disk_bytes": None, "beside_steps": None}


def timeline(*events: AnyEvent) -> RunSnapshot:
    """A run whose events come one second, two, three and so on after the one before."""
    time, timed = 0.0, list[AnyEvent]()
    for seconds, event in enumerate(events):
        time += seconds
        timed.append(msgspec.structs.replace(event, time=time))
    return RunSnapshot(timed)


def phase(name: Any) -> Phase:
    return Phase(time=0.0, name=name)


def test_time_beside_the_steps_is_that_before_the_event_that_reports_it() -> None:
    events: tuple[AnyEvent, ...] = (
        started(), phase("loading"), PREPARED, phase("evaluating base"), evaluated(0, 2.0),  # 3 s and 4 s
        phase("sampling"), sampled(0, "text"), phase("training"), step(1), saved(1),  # 6 s; 9 s
        evaluated(1, 1.0), phase("answering"), saved(1, "adapter", final=True),  # 10 s; 11 s; 12 s
    )  # fmt: skip
    assert timeline(*events).beside_steps is None
    ended = timeline(*events, Finished(time=0.0, result=Result()))
    assert ended.beside_steps == SecondsBesideSteps(evaluations=3 + 4 + 10, samples=6 + 11, checkpoints=9 + 12)


def test_time_is_that_of_the_last_run_and_no_event_out_of_order_adds_to_it() -> None:
    """The provenance has the time at which it was asked for, which is earlier than that of the event before it."""
    late: list[AnyEvent] = [
        started(), evaluated(0, 2.0), msgspec.structs.replace(started(1), time=1000.0),
        msgspec.structs.replace(evaluated(1, 2.0), time=1005.0), Provenance(time=900.0),
        msgspec.structs.replace(evaluated(2, 2.0), time=1007.0), Finished(time=1008.0, result=Result()),
    ]  # fmt: skip
    assert RunSnapshot(late).beside_steps == SecondsBesideSteps(evaluations=7.0)

"""How long a round takes, foretold from real rounds that were timed, and from rounds whose time is known by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.files.paths import Workspace
from engine.planning.devices import Device
from engine.planning.durations.duration import duration_of
from engine.spec.plan import make_plan
from engine.spec.round import Prediction, Result, Round, SecondsBesideSteps, Status
from engine.store.round_store import RoundStore
from engine.text.humanize import format_duration
from scripts.shipped_rounds import shipped_rounds
from tests.support.processes import ROOT
from tests.support.rounds import change_spec, make_round, make_spec

PROCESSOR = Device("this processor", is_gpu=False, free=1, total=1, bfloat16=False)
T4 = Device("Tesla T4", is_gpu=True, free=1, total=1, bfloat16=False, uuids=frozenset({"GPU-1", "GPU-2"}))
ROWS = 1000


def timed(number: int, seconds: float, beside: float = 0.0, gpu: str | None = None, **settings: Any) -> Round:
    """A finished round whose steps took so many seconds, and `beside` what was not a step."""
    spec = make_spec(data__eval_fraction=0.1, **settings)
    plan = make_plan(spec, ROWS)
    return msgspec.structs.replace(
        make_round(number, status=Status.FINISHED, spec=spec), plan=plan, gpu=gpu, started=100.0,
        ended=100.0 + seconds + beside, result=Result(train_seconds=seconds, step=plan.total_steps),
    )  # fmt: skip


def foretold(rounds: list[Round], device: Device = PROCESSOR, rows: int = ROWS, **settings: Any) -> Any:
    spec = make_spec(data__eval_fraction=0.1, **settings)
    return duration_of(spec, make_plan(spec, rows), device, rounds)


@pytest.fixture
def reference(workspace: Workspace) -> list[Round]:
    """The rounds that ship, as if this machine had trained them."""
    workspace.store_path.write_bytes(shipped_rounds())
    return [msgspec.structs.replace(each, status=Status.FINISHED) for each in RoundStore(workspace).rounds()]


@pytest.mark.parametrize("number", range(1, 6))
def test_each_round_of_the_reference_follows_from_the_others(reference: list[Round], number: int) -> None:
    """They were timed on one card, by hand, with other batches, epochs and rates."""
    (round_,) = (each for each in reference if each.number == number)
    others = [each for each in reference if each.number != number]
    duration = duration_of(round_.spec, round_.plan, PROCESSOR, others)
    assert duration is not None and round_.result.train_seconds is not None
    assert duration.seconds == pytest.approx(round_.result.train_seconds, rel=0.06)
    assert duration.interval[0] < round_.result.train_seconds < duration.interval[1]


def test_all_of_alpaca_takes_hours_where_a_day_was_reported(reference: list[Round]) -> None:
    """Three epochs of 52,002 rows at the speed of these rounds."""
    spec = change_spec(reference[-1].spec, data__samples=52_002)
    duration = duration_of(spec, make_plan(spec, 52_002), PROCESSOR, reference)
    assert duration is not None and duration.seconds / 3600 == pytest.approx(2.25, abs=0.05)


def test_time_grows_with_rows_and_epochs_and_evaluations() -> None:
    """900 rows three times in 270 s are 0.1 s a row; four evaluations, the base's among them, took 40 s beside."""
    rounds = [timed(1, 270.0, 40.0, train__num_train_epochs=3.0, train__save_strategy="epoch")]
    duration = foretold(rounds, rows=2 * ROWS, train__num_train_epochs=1.0, train__save_strategy="epoch")
    assert (duration.steps, duration.seconds, duration.rounds) == (pytest.approx(180), pytest.approx(180 + 20), (1,))


def in_parts(round_: Round, evaluations: float, samples: float, checkpoints: float, **fields: Any) -> Round:
    return msgspec.structs.replace(round_, beside_steps=SecondsBesideSteps(evaluations, samples, checkpoints), **fields)


def test_parts_grow_with_what_they_do() -> None:
    """Four evaluations of 100 rows in 20 s, their samples in 8 s, and four adapters in 4 s, of 42 s beside the steps.

    Half as many evaluations of twice as many rows take 20 s too; twice as long samples, half as often, 8 s; and three
    adapters, one of them halfway, 3 s. The start takes the other 10 s.
    """
    settings: dict[str, Any] = {"train__save_strategy": "epoch", "train__eval_strategy": "epoch"}
    one = in_parts(timed(1, 270.0, 42.0, train__num_train_epochs=3.0, train__sample_tokens=20, **settings), 20, 8, 4)
    assert one.plan.checkpoints is not None and len(one.plan.checkpoints) == 3
    duration = foretold([one], rows=2 * ROWS, train__num_train_epochs=1.0, train__sample_tokens=40, **settings)
    assert (duration.start, duration.evaluations) == (pytest.approx(10), pytest.approx(20))
    assert (duration.samples, duration.checkpoints) == (pytest.approx(8), pytest.approx(3))
    assert duration.seconds == pytest.approx(duration.steps + 10 + 20 + 8 + 3)


def test_rounds_without_parts_tell_the_whole_and_those_with_them_the_parts() -> None:
    old = timed(1, 270.0, 100.0)
    assert (foretold([old]).start, foretold([old]).seconds) == (None, pytest.approx(370))
    both = foretold([old, in_parts(timed(2, 270.0, 30.0), 10.0, 5.0, 3.0)])
    assert (both.start, both.seconds, both.rounds) == (pytest.approx(12), pytest.approx(300), (1, 2))


def test_samples_that_no_round_has_written_are_not_known() -> None:
    one = in_parts(timed(1, 270.0, 30.0, train__sample_tokens=0), 10.0, 0.0, 3.0)
    assert foretold([one], train__sample_tokens=0).samples == 0
    assert foretold([one], train__sample_tokens=40).samples is None
    assert foretold([one], train__sample_tokens=40).seconds == pytest.approx(300)


def test_resumed_round_tells_the_time_of_its_steps_alone() -> None:
    """The start and the end of a round are those of its last run."""
    resumed = in_parts(timed(1, 270.0, 30.0), 10.0, 5.0, 3.0, resumed_from=3)
    assert (foretold([resumed]).seconds, foretold([resumed]).start) == (pytest.approx(270), None)


def test_interval_is_as_wide_as_rounds_differ_and_narrower_with_more_of_them() -> None:
    one, three = foretold([timed(1, 270.0)]), foretold([timed(number, 270.0) for number in (1, 2, 3)])
    assert one.interval == (pytest.approx(0.75 * one.seconds), pytest.approx(1.25 * one.seconds))
    assert three.interval == (pytest.approx(0.9 * one.seconds), pytest.approx(1.1 * one.seconds))
    apart = foretold([timed(1, 270.0), timed(2, 270.0), timed(3, 540.0)])
    assert apart.interval == (pytest.approx(0.9 * one.seconds), pytest.approx(1.1 * 2 * one.seconds))


@pytest.mark.parametrize(
    "settings",
    [
        {"model__load_in_4bit": True}, {"model__dtype": "bfloat16"}, {"lora__target_modules": "all-linear"},
        {"lora__use_dora": True}, {"data__max_length": 64}, {"data__path": "other.jsonl"}, {"model__path": "another"},
        {"train__gradient_checkpointing": True}, {"train__torch_compile": True},
    ],
)  # fmt: skip
def test_rounds_whose_rows_cost_otherwise_tell_nothing(settings: dict[str, Any]) -> None:
    assert foretold([timed(1, 270.0)], **settings) is None


@pytest.mark.parametrize(
    "settings", [{"lora__r": 64}, {"train__learning_rate": 1e-5}, {"train__per_device_train_batch_size": 1}]
)
def test_rank_rate_and_batch_do_not_matter(settings: dict[str, Any]) -> None:
    assert foretold([timed(1, 270.0)], **settings).steps == foretold([timed(1, 270.0)]).steps


def test_only_rounds_of_this_machine_count() -> None:
    on_card, elsewhere = timed(1, 27.0, gpu="GPU-2"), timed(2, 99.0, gpu="GPU-9")
    imported = msgspec.structs.replace(timed(3, 1.0), status=Status.IMPORTED)
    rounds = [on_card, elsewhere, imported, timed(4, 270.0)]
    assert (foretold(rounds, T4).rounds, foretold(rounds, PROCESSOR).rounds) == ((1,), (4,))
    assert foretold(rounds, msgspec.structs.replace(T4, is_here=False)) is None


def test_rounds_without_an_assigned_card_count_where_there_is_only_one() -> None:
    """The runner assigns cards only where it has a choice."""
    rounds = [timed(1, 27.0), timed(2, 27.0, gpu="GPU-1"), timed(3, 27.0, gpu="GPU-9")]
    assert foretold(rounds, T4).rounds == (2,)
    assert foretold(rounds, msgspec.structs.replace(T4, is_only=True)).rounds == (1, 2)


def test_energy_is_that_of_the_same_time_at_the_power_of_alike_rounds() -> None:
    """One round used 0.3 kWh in 300 s, the next 0.2 kWh in 100 s: a thousandth, and two thousandths, a second."""
    rounds = [
        msgspec.structs.replace(each, result=msgspec.structs.replace(each.result, energy_kwh=energy))
        for each, energy in ((timed(1, 270.0, 30.0), 0.3), (timed(2, 90.0, 10.0), 0.2), (timed(3, 180.0, 20.0), None))
    ]
    alone, both = foretold(rounds[:1]), foretold(rounds)
    assert alone.energy_kwh == pytest.approx(0.001 * alone.seconds)
    assert both.energy_kwh == pytest.approx(0.0015 * both.seconds)
    assert foretold(rounds[2:]).energy_kwh is None
    at_once = msgspec.structs.replace(rounds[0], started=100.0, ended=100.0)
    assert foretold([at_once]).energy_kwh is None
    for energy in (-1.0, 1e308, float("nan"), float("inf")):
        impossible = msgspec.structs.replace(rounds[0].result, energy_kwh=energy)
        assert (
            foretold([msgspec.structs.replace(rounds[0], ended=400.001, result=impossible)], rows=10**6).energy_kwh
            is None
        )


def test_only_card_of_a_machine_is_known_by_the_prediction() -> None:
    """It is not assigned to rounds, which say that they ran on a card, and for which cards they were predicted."""
    predicted = Prediction(device="Tesla T4", is_gpu=True, cards=("GPU-1",))
    alone = msgspec.structs.replace(timed(1, 27.0), device="cuda", predicted=predicted)
    other = msgspec.structs.replace(alone, number=2, predicted=msgspec.structs.replace(predicted, cards=("GPU-9",)))
    unknown = msgspec.structs.replace(alone, number=3, predicted=None)
    on_processor = msgspec.structs.replace(alone, number=4, device="cpu")
    rounds = [alone, other, unknown, on_processor]
    assert (foretold(rounds, T4).rounds, foretold(rounds, PROCESSOR).rounds) == ((1,), (4,))


@pytest.mark.parametrize("seconds", [None, float("nan")])
def test_rounds_that_were_not_timed_are_passed_over(seconds: float | None) -> None:
    round_ = timed(1, 270.0)
    result = msgspec.structs.replace(round_.result, train_seconds=seconds)
    assert foretold([msgspec.structs.replace(round_, result=result)]) is None
    assert foretold([]) is None


def test_best_adapter_of_an_older_step_is_no_early_end_unless_the_round_may_end_early() -> None:
    """The step of a result is that of the adapter that was measured, which need not be the last."""
    stopped = timed(1, 270.0, train__early_stopping_patience=2)
    for round_, is_known in ((timed(1, 270.0), True), (stopped, False)):
        result = msgspec.structs.replace(round_.result, step=3)
        duration = foretold([msgspec.structs.replace(round_, result=result)])
        assert (duration is not None) is is_known
    assert foretold([stopped]) is not None


def test_page_has_the_times_as_they_are_foretold(reference: list[Round]) -> None:
    lines = (ROOT / "docs" / "duration.md").read_text(encoding="utf-8").splitlines()
    for round_ in reference:
        others = [each for each in reference if each is not round_]
        duration = duration_of(round_.spec, round_.plan, PROCESSOR, others)
        (line,) = (line for line in lines if line.startswith(f"| {round_.number} | "))
        assert duration is not None
        taken, by_others = map(format_duration, (round_.result.train_seconds, duration.seconds))
        assert line.endswith(f" | {taken} | {by_others} |")

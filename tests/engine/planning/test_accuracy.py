"""Predicted figures beside actual ones: errors by hand, and what cannot be compared is left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.planning.accuracy import (
    DELETED,
    ELSEWHERE,
    ENDED_EARLY,
    RESUMED,
    UNKNOWN,
    PredictedFigure,
    compared_fields,
    errors_of,
    peak_ratio,
    predicted_figures,
)
from engine.spec.round import Prediction, Result, Round, Status
from tests.support.rounds import make_round, make_spec

PREDICTED = Prediction(
    device="Tesla T4", is_gpu=True, cards=("GPU-1", "GPU-2"), family="llama", bits=16, peak_memory_bytes=900,
    counted_memory_bytes=600, seconds=110.0, interval=(90.0, 140.0), tokens=5000, disk_bytes=300,
)  # fmt: skip


def trained(number: int = 1, status: Status = Status.FINISHED, **fields: Any) -> Round:
    """A round that was predicted for a T4, ran on one for 100 s, and took 1,200 bytes of it and 400 of the disk."""
    result = Result(peak_memory_bytes=1200, trained_tokens=5000, train_seconds=80.0, step=1)
    values: dict[str, Any] = {
        "predicted": PREDICTED, "device": "cuda", "gpu": "GPU-2", "started": 50.0, "ended": 150.0, "disk_bytes": 400,
        "result": result,
    }  # fmt: skip
    return make_round(number, status, **(values | fields))


def compared(round_: Round) -> dict[str, float | None]:
    return {each.figure: each.error_percent for each in predicted_figures(round_)}


def reasons(round_: Round) -> dict[str, str]:
    return {each.figure: each.reason for each in predicted_figures(round_) if each.reason}


def test_errors_are_those_by_hand() -> None:
    """900 of 1,200 bytes are a quarter too little, 110 s for 100 are a tenth too much, 300 of 400 a quarter too
    little."""
    errors = compared(trained())
    assert errors == {
        "peak_memory": pytest.approx(-25), "time": pytest.approx(10), "tokens": pytest.approx(0),
        "disk": pytest.approx(-25),
    }  # fmt: skip
    assert compared_fields(trained())["time"] == {
        "predicted": 110.0, "interval": (90.0, 140.0), "actual": 100.0, "error_percent": pytest.approx(10), "reason": ""
    }  # fmt: skip


def test_ratio_is_by_what_was_counted_without_a_correction() -> None:
    assert peak_ratio(trained()) == pytest.approx(1200 / 600)
    assert peak_ratio(trained(device="cpu")) is None
    assert peak_ratio(make_round()) is None


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.STOPPED, Status.FAILED])
def test_round_that_has_not_finished_has_predictions_alone(status: Status) -> None:
    figures = predicted_figures(trained(status=status))
    assert [(each.predicted, each.actual, each.reason) for each in figures] == [
        (900, None, ""), (110.0, None, ""), (5000, None, ""), (300, None, ""),
    ]  # fmt: skip


def test_round_without_a_prediction_has_none() -> None:
    assert predicted_figures(trained(predicted=None)) == []
    assert predicted_figures(trained(predicted=Prediction(device="this processor", is_gpu=False))) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"device": "cpu", "gpu": None}, ELSEWHERE), ({"device": "mps", "gpu": None}, ELSEWHERE),
        ({"gpu": "GPU-9"}, ELSEWHERE), ({"device": "", "gpu": None}, UNKNOWN),
    ],
)  # fmt: skip
def test_memory_and_time_of_another_device_are_not_compared(fields: dict[str, Any], reason: str) -> None:
    assert reasons(trained(**fields)) == {"peak_memory": reason, "time": reason}


def test_only_card_of_a_machine_is_that_of_the_prediction() -> None:
    """It is not assigned, so that the round names none."""
    assert reasons(trained(gpu=None)) == {}
    processor = msgspec.structs.replace(PREDICTED, device="this processor", is_gpu=False, cards=())
    assert reasons(trained(predicted=processor, device="cpu", gpu=None)) == {}
    assert reasons(trained(predicted=processor, gpu=None)) == {"peak_memory": ELSEWHERE, "time": ELSEWHERE}


def test_resumed_round_is_compared_by_its_tokens_alone() -> None:
    """Its start, end and peak are those of its last run, and its first one wrote a checkpoint where it was stopped."""
    round_ = trained(resumed_from=4)
    assert reasons(round_) == {"peak_memory": RESUMED, "time": RESUMED, "disk": RESUMED}
    assert compared(round_)["tokens"] == pytest.approx(0)


def test_round_that_may_have_ended_early_is_compared_by_its_peak_alone() -> None:
    stopped = trained(spec=make_spec(train__early_stopping_patience=2))
    assert reasons(stopped) == {"time": ENDED_EARLY, "tokens": ENDED_EARLY, "disk": ENDED_EARLY}
    result = msgspec.structs.replace(stopped.result, step=stopped.plan.total_steps)
    assert reasons(msgspec.structs.replace(stopped, result=result)) == {}


def test_disk_is_not_compared_where_checkpoints_were_deleted() -> None:
    """Of three checkpoints two stay, and there were three at once."""
    few, enough = (trained(spec=make_spec(train__save_total_limit=limit)) for limit in (2, 3))
    assert few.plan.checkpoints is not None and len(few.plan.checkpoints) == 3
    assert (reasons(few), reasons(enough)) == ({"disk": DELETED}, {})


def test_figure_that_was_not_measured_is_not_compared() -> None:
    round_ = trained(result=Result(), started=None, disk_bytes=None)
    assert compared(round_) == dict.fromkeys(("peak_memory", "time", "tokens", "disk"))


def test_median_and_worst_error_are_by_their_size() -> None:
    """The peaks were 25 % too low, 50 % too high and 10 % too low."""
    peaks = {1: 1200, 2: 600, 3: 1000}
    rounds = [trained(number, result=Result(peak_memory_bytes=peak)) for number, peak in peaks.items()]
    errors = errors_of([*rounds, trained(4, Status.FAILED), make_round(5)])
    peak, time = errors["peak_memory"], errors["time"]
    assert (peak.rounds, peak.worst_round) == (3, 2)
    assert [peak.median_percent, peak.worst_percent] == pytest.approx([25, 50])
    assert time.rounds == 3 and time.median_percent == pytest.approx(10)
    assert "tokens" not in errors


@given(
    st.fixed_dictionaries(
        {name: st.integers() | st.none() for name in ("peak_memory_bytes", "counted_memory_bytes", "tokens")}
    ),
    st.floats(),
    st.tuples(st.floats(), st.floats()),
    st.integers(),
    st.floats(),
)
def test_numbers_that_a_file_may_hold_do_no_harm(
    numbers: dict[str, Any], seconds: float, interval: tuple[float, float], peak: int, ended: float
) -> None:
    predicted = msgspec.structs.replace(PREDICTED, **numbers, seconds=seconds, interval=interval, disk_bytes=10**400)
    round_ = trained(predicted=predicted, result=Result(peak_memory_bytes=peak, trained_tokens=peak), ended=ended)
    figures = predicted_figures(round_)
    assert all(0 < each.predicted <= 2**53 for each in figures)
    assert all(each.actual is None or 0 < each.actual <= 2**53 for each in figures)
    assert "disk" not in [each.figure for each in figures]
    assert isinstance(errors_of([round_]), dict)
    ratio = peak_ratio(round_)
    assert ratio is None or ratio > 0


def test_error_of_what_is_not_known_is_not_known() -> None:
    assert PredictedFigure("time", 3.0).error_percent is None

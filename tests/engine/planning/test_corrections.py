"""Corrections of the peak memory by finished rounds, against medians by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.files.paths import Workspace
from engine.planning.corrections import MemoryCorrection, corrected, correction_of, family_and_bits
from engine.planning.devices import Device
from engine.planning.forecast import forecast
from engine.planning.memory import MemoryNeed, memory_need
from engine.spec.plan import make_plan
from engine.spec.round import Prediction, Result, Round, Status
from engine.spec.schema import Spec
from tests.support.rounds import change_spec, make_round, make_spec, write_rows
from tests.support.shapes import write_llama_shapes

GIB = 2**30
T4 = Device("Tesla T4", True, 15 * GIB, 15 * GIB, bfloat16=False, uuids=frozenset({"GPU-1"}))
NEED = MemoryNeed(
    base=100, adapter=10, gradients=10, optimizer=20, process=0, row=60, row_tokens=8, recompute=False, peak=400,
    free=1000, verdict="fits",
)  # fmt: skip


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return make_spec(
        model__path=str(write_llama_shapes(tmp_path / "tinyllama")), model__dtype="auto", data__max_length=512,
        data__path=str(write_rows(tmp_path / "rows.jsonl")), data__samples=None, lora__target_modules=("q_proj",),
    )  # fmt: skip


def came(number: int, ratio: float, family: str = "llama", bits: int = 16, **fields: Any) -> Round:
    """A round whose peak was `ratio` of what was counted for it; a correction that was shown then does not matter."""
    predicted = Prediction(
        device="Tesla T4", is_gpu=True, cards=("GPU-1",), family=family, bits=bits, peak_memory_bytes=1,
        counted_memory_bytes=1000,
    )  # fmt: skip
    values: dict[str, Any] = {
        "predicted": predicted,
        "device": "cuda",
        "result": Result(peak_memory_bytes=round(1000 * ratio)),
    }
    return make_round(number, Status.FINISHED, **(values | fields))


def learned(spec: Spec, *rounds: Round, need: MemoryNeed = NEED, device: Device = T4) -> MemoryCorrection | None:
    return correction_of(need, spec, device, rounds)


def test_ratio_is_the_median_from_three_rounds_on(spec: Spec) -> None:
    rounds = came(1, 0.8), came(2, 0.9), came(3, 1.5)
    assert learned(spec, *rounds) == MemoryCorrection(0.9, (1, 2, 3), 400)
    assert learned(spec, *rounds[:2]) is None


def test_only_the_last_ten_rounds_count(spec: Spec) -> None:
    correction = learned(spec, *(came(number, 0.7 if number < 6 else 1.1) for number in range(1, 16)))
    assert correction == MemoryCorrection(1.1, tuple(range(6, 16)), 400)


@pytest.mark.parametrize(("ratio", "bounded"), [(0.01, 0.5), (0.5, 0.5), (2.0, 2.0), (40.0, 2.0)])
def test_ratio_stays_between_a_half_and_two(spec: Spec, ratio: float, bounded: float) -> None:
    correction = learned(spec, *(came(number, ratio) for number in (1, 2, 3)))
    assert correction is not None and correction.ratio == bounded


@pytest.mark.parametrize(
    "fields",
    [
        {"family": "qwen2"}, {"bits": 32}, {"family": ""}, {"device": "cpu"}, {"gpu": "GPU-9"}, {"resumed_from": 3},
        {"result": Result()}, {"predicted": None},
    ],
)  # fmt: skip
def test_other_families_precisions_and_devices_tell_nothing(spec: Spec, fields: dict[str, Any]) -> None:
    assert learned(spec, came(1, 0.8), came(2, 0.8), came(3, 0.8, **fields)) is None


def test_peaks_by_the_lengths_of_rows_are_corrected_by_such_ones(spec: Spec) -> None:
    """The others are bounds, for rows as long as can be."""
    bounds = [came(number, 0.5) for number in (1, 2, 3)]
    by_lengths = [came(number, 0.9) for number in (4, 5, 6)]
    predicted = by_lengths[0].predicted
    assert predicted is not None
    measured = msgspec.structs.replace(predicted, tokens=1000)
    by_lengths = [msgspec.structs.replace(each, predicted=measured) for each in by_lengths]
    knowing = msgspec.structs.replace(NEED, knows_lengths=True)
    assert learned(spec, *bounds, *by_lengths) == MemoryCorrection(0.5, (1, 2, 3), 400)
    assert learned(spec, *bounds, *by_lengths, need=knowing) == MemoryCorrection(0.9, (4, 5, 6), 400)
    assert learned(spec, *bounds, need=knowing) is None


def test_card_that_is_not_here_and_what_does_not_fit_are_not_corrected(spec: Spec) -> None:
    rounds = came(1, 0.8), came(2, 0.8), came(3, 0.8)
    assert learned(spec, *rounds, device=msgspec.structs.replace(T4, is_here=False)) is None
    for changes in ({"verdict": "does not fit"}, {"verdict": "unknown"}, {"peak": None}):
        assert learned(spec, *rounds, need=msgspec.structs.replace(NEED, **changes)) is None
    assert correction_of(None, spec, T4, rounds) is None


def test_family_of_an_unknown_model_tells_nothing() -> None:
    rounds = [came(number, 0.8, family="") for number in (1, 2, 3)]
    assert learned(make_spec(model__dtype="float16", model__path="nobody/nothing"), *rounds) is None


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({}, 16), ({"model__dtype": "float32"}, 32), ({"model__load_in_4bit": True}, 4),
        ({"model__load_in_8bit": True}, 8), ({"lora__init_lora_weights": "pissa"}, 32),
    ],
)  # fmt: skip
def test_family_and_bits_are_those_of_the_model(spec: Spec, settings: dict[str, Any], bits: int) -> None:
    assert family_and_bits(change_spec(spec, **settings), T4) == ("llama", bits)


@pytest.mark.parametrize(
    ("ratio", "peak"),
    [(0.75, 300), (1.25, 500), (0.2, 200), (9.0, 1000)],  # no less than a row needs, no more than is free
)
def test_peak_is_corrected_between_a_row_and_what_is_free(ratio: float, peak: int) -> None:
    need = corrected(NEED, MemoryCorrection(ratio, (1, 2, 3), 400))
    assert need == msgspec.structs.replace(NEED, peak=peak)
    assert corrected(NEED, None) is NEED


def test_forecast_shows_the_corrected_peak_and_keeps_the_verdict(spec: Spec, workspace: Workspace) -> None:
    rounds = [came(number, 0.75) for number in (1, 2, 3)]
    plain = memory_need(spec, make_plan(spec, 40), T4)
    outcome = forecast(spec, T4, workspace, rounds)
    assert plain is not None and plain.peak is not None and outcome.memory is not None
    assert outcome.memory.peak == max(round(0.75 * plain.peak), plain.least)
    assert msgspec.structs.replace(outcome.memory, peak=plain.peak) == plain
    assert outcome.correction == MemoryCorrection(0.75, (1, 2, 3), plain.peak)
    tight = forecast(spec, msgspec.structs.replace(T4, free=GIB), workspace, rounds)
    assert tight.memory is not None and (tight.memory.verdict, tight.correction) == ("does not fit", None)

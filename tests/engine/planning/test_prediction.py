"""Predictions that are stored with a round: the figures of its forecast, or nothing if that fails."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.files.paths import Workspace
from engine.planning import prediction
from engine.planning.corrections import MemoryCorrection
from engine.planning.devices import Device, device_named
from engine.planning.durations.duration import Duration
from engine.planning.forecast import Forecast, forecast
from engine.planning.prediction import predict, predict_here, prediction_of
from engine.planning.row_lengths import RowLengths, SetLengths
from engine.preflight.adapter_size import AdapterSize, adapter_size
from engine.spec.schema import Spec
from engine.system.process import ProcessIdentity
from tests.support.rounds import change_spec, make_spec, write_rows
from tests.support.shapes import write_llama_shapes

GIB = 2**30
T4 = Device("Tesla T4", True, 15 * GIB, 15 * GIB, bfloat16=False, uuids=frozenset({"GPU-2", "GPU-1"}))


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return make_spec(
        model__path=str(write_llama_shapes(tmp_path / "tinyllama")), model__dtype="auto", data__samples=None,
        data__path=str(write_rows(tmp_path / "rows.jsonl")), lora__target_modules=("q_proj",),
    )  # fmt: skip


@pytest.fixture
def outcome(spec: Spec, workspace: Workspace) -> Forecast:
    return forecast(spec, T4, workspace)


def test_adapter_is_counted_once_in_a_forecast(
    spec: Spec, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a while with many experts, and a form asks at every key."""
    counted: list[Path] = []

    def count(directory: Path, *arguments: Any) -> AdapterSize | None:
        counted.append(directory)
        return adapter_size(directory, *arguments)

    for module in ("preflight.checks", "planning.forecast", "planning.memory", "planning.durations.operations"):
        monkeypatch.setattr(f"engine.{module}.adapter_size", count)
    lengths = RowLengths((SetLengths(40, (20,) * 40, (5,) * 40),))
    outcome = forecast(spec, device_named("T4"), workspace, lengths=lengths)
    assert outcome.memory is not None and outcome.duration is not None
    assert counted == [Path(spec.model.path)]


def test_prediction_has_the_figures_of_the_forecast(spec: Spec, outcome: Forecast) -> None:
    duration = Duration(110.0, (90.0, 140.0), 80.0, (1, 2))
    predicted = prediction_of(spec, msgspec.structs.replace(outcome, duration=duration))
    assert outcome.memory is not None and outcome.memory.peak is not None
    assert (predicted.device, predicted.is_gpu, predicted.cards) == ("Tesla T4", True, ("GPU-1", "GPU-2"))
    assert (predicted.family, predicted.bits) == ("llama", 16)
    assert predicted.peak_memory_bytes == predicted.counted_memory_bytes == outcome.memory.peak
    assert predicted.least_memory_bytes == outcome.memory.least
    assert (predicted.seconds, predicted.interval) == (110.0, (90.0, 140.0))
    assert predicted.disk_bytes == outcome.disk_bytes is not None


def test_peak_without_its_correction_is_stored_too(spec: Spec, outcome: Forecast) -> None:
    assert outcome.memory is not None
    shown = msgspec.structs.replace(outcome.memory, peak=700)
    correction = MemoryCorrection(0.7, (1, 2, 3), 1000)
    predicted = prediction_of(spec, msgspec.structs.replace(outcome, memory=shown, correction=correction))
    assert (predicted.peak_memory_bytes, predicted.counted_memory_bytes) == (700, 1000)


def test_what_is_not_known_is_none(spec: Spec, outcome: Forecast) -> None:
    unknown = change_spec(spec, model__path="nobody/nothing")
    bare = msgspec.structs.replace(outcome, memory=None, duration=None, disk_bytes=None)
    predicted = prediction_of(unknown, bare)
    assert (predicted.family, predicted.peak_memory_bytes, predicted.counted_memory_bytes) == ("", None, None)
    assert (predicted.least_memory_bytes, predicted.seconds, predicted.interval) == (None, None, None)


def test_forecast_that_fails_predicts_nothing(spec: Spec) -> None:
    def fail() -> Forecast:
        raise ZeroDivisionError

    assert predict(spec, fail) is None


def test_machine_is_asked_for_no_more_than_two_seconds(
    spec: Spec, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def device_here(engines: Iterable[ProcessIdentity], timeout: float) -> Device:
        asked.append(timeout)
        return T4

    monkeypatch.setattr(prediction, "device_here", device_here)
    predicted = predict_here(spec, workspace, [])
    assert predicted is not None and (predicted.device, asked) == ("Tesla T4", [2.0])

"""Rounds trained on a card that counts its energy, which a stand-in for NVML plays."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from engine.runs.events import Finished
from engine.system.telemetry import GpuSample
from engine.training.loop import recipe
from engine.training.runtime.energy import EnergyMeter
from tests.support.rounds_to_train import make_run, train_here

JOULES_A_READING = 1_800_000.0  # half a kilowatt-hour


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The readings so far."""
    readings: list[float] = []

    def sample(timeout: float) -> tuple[tuple[GpuSample, ...], str]:
        readings.append(JOULES_A_READING * (1 + len(readings)))
        card = GpuSample(0, "Tesla T4", None, None, None, None, None, uuid="GPU-0", energy_joules=readings[-1])
        return (card,), ""

    monkeypatch.setattr(recipe, "card_uuid", lambda device: "GPU-0")
    monkeypatch.setattr(recipe, "EnergyMeter", partial(EnergyMeter, sample=sample))
    return readings


def test_finished_round_has_the_energy_of_its_card(tmp_path: Path, tiny_model: Path, counter: list[float]) -> None:
    run = make_run(tmp_path / "runs" / "0001-c0ffee", tiny_model, train__num_train_epochs=0.2)
    finished = train_here(run)[-1]
    assert isinstance(finished, Finished)
    assert finished.result.energy_kwh == pytest.approx(0.5) and len(counter) == 2


def test_resumed_round_would_know_a_part_and_has_none(tmp_path: Path, tiny_model: Path, counter: list[float]) -> None:
    run = make_run(tmp_path / "runs" / "0001-c0ffee", tiny_model, train__num_train_epochs=0.4)
    train_here(run, stop_after=1)
    finished = train_here(run, resume=True)[-1]
    assert isinstance(finished, Finished)
    assert finished.result.energy_kwh is None and len(counter) <= 1

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
import torch

from engine.system.telemetry import GpuSample
from engine.training.runtime.energy import EnergyMeter, card_uuid

CARD = GpuSample(0, "Tesla T4", None, None, None, None, None, uuid="GPU-0")
OTHER = msgspec.structs.replace(CARD, index=1, uuid="GPU-1", energy_joules=5.0)


def metered(readings: Sequence[float | None], uuid: str | None = "GPU-0") -> float | None:
    """Return the kWh by two readings of the counter, in joules."""
    answers = iter(readings)

    def sample(timeout: float) -> tuple[tuple[GpuSample, ...], str]:
        return (OTHER, msgspec.structs.replace(CARD, energy_joules=next(answers))), ""

    return EnergyMeter(uuid, sample).kwh()


def test_energy_is_the_difference_of_two_readings() -> None:
    """70 W for two hours are 504,000 J, and 0.14 kWh."""
    assert metered([1_000_000.0, 1_504_000.0]) == pytest.approx(0.14)


@pytest.mark.parametrize("readings", [(None, None), (None, 7.0), (7.0, None), (7.0, 6.0)])
def test_card_without_a_counter_or_with_a_new_one_has_no_energy(readings: Sequence[float | None]) -> None:
    assert metered(readings) is None


def test_unknown_card_and_no_card_have_no_energy() -> None:
    assert metered([1.0, 2.0], "GPU-7") is None
    assert metered([], None) is None
    assert EnergyMeter("GPU-0", lambda timeout: ((), "no NVIDIA GPU")).kwh() is None


def test_driver_that_goes_wrong_costs_no_round_its_result() -> None:
    def sample(timeout: float) -> tuple[tuple[GpuSample, ...], str]:
        raise OSError("too many open files")

    assert EnergyMeter("GPU-0", sample).kwh() is None


def test_card_is_named_as_nvml_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch writes the UUID without the prefix."""

    class Properties:
        uuid = "3c5a7dbf-0000-0000-0000-000000000001"

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties())
    assert card_uuid(torch.device("cuda")) == "GPU-3c5a7dbf-0000-0000-0000-000000000001"
    assert card_uuid(torch.device("cpu")) is None

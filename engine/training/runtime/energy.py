"""Measure the energy that a card uses while a round trains, by the counter that NVML has of it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.system.telemetry import GpuSample, sample_gpus
from engine.training.runtime.background import Background

JOULES_PER_KWH = 3.6e6
ANSWER_SECONDS = 5.0  # that the end of a round waits for the driver

SampleCards = Callable[[float], tuple[tuple[GpuSample, ...], str]]


def card_uuid(device: torch.device) -> str | None:
    """Return the UUID of a CUDA device as NVML writes it, None for another device."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None


class EnergyMeter:
    """Measures what the card `uuid` uses from now on, for whoever computes on it; nothing where `uuid` is None.

    NVML may hang: the first reading is taken in a thread, and a process of its own asks NVML.
    """

    def __init__(self, uuid: str | None, sample: SampleCards = sample_gpus) -> None:
        self._uuid = uuid
        self._sample = sample
        self._first = Background(lambda _: self._joules()) if uuid is not None else None

    def kwh(self) -> float | None:
        """Return the kilowatt-hours used so far; None if the card does not count them, or its driver was reloaded."""
        if self._first is None:
            return None
        first, now = self._first.result(lambda *_: None), self._joules()
        return None if first is None or now is None or now < first else (now - first) / JOULES_PER_KWH

    def _joules(self) -> float | None:
        try:
            cards, _ = self._sample(ANSWER_SECONDS)
        except Exception:  # whatever goes wrong with the driver, the round has its result
            return None
        return next((card.energy_joules for card in cards if card.uuid == self._uuid), None)

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.telemetry import GpuProcess, GpuSample, Telemetry


class NVMLError(Exception):
    pass


class NotSupported(NVMLError):
    pass


class FakeNvml(ModuleType):
    """NVML with two cards; `failing` maps a function's name to the error it raises."""

    NVMLError_NotSupported = NotSupported
    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.failing: dict[str, Exception] = {}
        self.open = 0

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and (error := self.failing.get(name)):
            raise error
        return super().__getattribute__(name)

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return b"Old T4" if handle else "Tesla T4"

    def nvmlDeviceGetUUID(self, handle: int) -> str | bytes:
        return f"GPU-{handle}"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[object]:
        return [SimpleNamespace(pid=7, usedGpuMemory=None)] if handle else []

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:
        return SimpleNamespace(used=3 * 2**30, total=15 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> object:
        return SimpleNamespace(gpu=97, memory=50)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 71

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 69_500


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def opened() -> Telemetry:
    telemetry = Telemetry()
    telemetry.open()
    return telemetry


def test_cards_are_sampled(nvml: FakeNvml) -> None:
    telemetry = opened()
    sample = telemetry.sample()
    first = GpuSample(0, "Tesla T4", 3 * 2**30, 15 * 2**30, 97, 71, 69.5, "GPU-0", ())
    second = GpuSample(1, "Old T4", 3 * 2**30, 15 * 2**30, 97, 71, 69.5, "GPU-1", (GpuProcess(7, None),))
    assert sample.gpus == (first, second)
    assert sample.gpu_absence == ""
    telemetry.close()
    telemetry.close()
    assert nvml.open == 0


def test_machine_is_sampled(nvml: FakeNvml) -> None:
    sample = opened().sample()
    assert sample.memory_total == psutil.virtual_memory().total
    assert 0 < sample.memory_used < sample.memory_total
    assert 0 <= sample.cpu_percent <= 100


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetMemoryInfo", "memory_used"),
        ("nvmlDeviceGetMemoryInfo", "memory_total"),
        ("nvmlDeviceGetUtilizationRates", "utilisation"),
        ("nvmlDeviceGetTemperature", "temperature"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
    ],
)
def test_what_a_card_does_not_tell_is_none(nvml: FakeNvml, function: str, field: str) -> None:
    telemetry = opened()

    def refuse(*_: object) -> None:
        raise NotSupported("Not Supported")

    setattr(nvml, function, refuse)
    gpus = telemetry.sample().gpus
    assert len(gpus) == 2
    assert [getattr(gpu, field) for gpu in gpus] == [None, None]
    assert gpus[0].name == "Tesla T4"


@pytest.mark.parametrize(
    "error", [NVMLError("Driver Not Loaded"), OSError("libnvidia-ml.so.1: cannot open"), ImportError("pynvml")]
)
def test_machine_without_a_driver_says_why(nvml: FakeNvml, error: Exception) -> None:
    nvml.failing["nvmlInit"] = error
    telemetry = opened()
    sample = telemetry.sample()
    assert sample.gpus == ()
    assert sample.gpu_absence == f"no NVIDIA GPU: {error}"
    assert sample.memory_total > 0
    telemetry.close()


def test_unopened_telemetry_has_no_cards() -> None:
    sample = Telemetry().sample()
    assert (sample.gpus, sample.gpu_absence) == ((), "not asked yet")


@pytest.mark.parametrize("function", ["nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"])
def test_card_that_falls_off_the_bus_comes_back(nvml: FakeNvml, function: str) -> None:
    telemetry = opened()
    nvml.failing[function] = NVMLError("GPU is lost")
    sample = telemetry.sample()
    assert (sample.gpus, sample.gpu_absence) == ((), "the GPU stopped answering: GPU is lost")
    nvml.failing.clear()
    assert len(telemetry.sample().gpus) == 2
    assert telemetry.sample().gpu_absence == ""


def test_close_that_fails_is_the_end_all_the_same(nvml: FakeNvml) -> None:
    telemetry = opened()
    nvml.failing["nvmlShutdown"] = NVMLError("Uninitialized")
    telemetry.close()
    assert telemetry.sample().gpus == ()

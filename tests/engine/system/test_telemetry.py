from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from engine.system.nvml import GpuAnswer, GpuProcess, GpuSample, Nvml, throttle_words
from engine.system.telemetry import Telemetry

REASON = SimpleNamespace(
    **{name.removeprefix("nvmlClocksEventReason"): bit for name, bit in vars(pynvml).items() if "EventReason" in name}
)


class NVMLError(Exception):
    pass


class FakeNvml(ModuleType):
    """NVML with two cards; `failing` maps a function's name to the error it raises."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.failing: dict[str, Exception] = {}
        self.lost: dict[int, Exception] = {}
        self.cards = 2

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and (error := self.failing.get(name)):

            def refuse(*_: object) -> None:
                raise error

            return refuse
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> type[Exception]:
        """Its errors are made as they are asked for."""
        error = type(name, (NVMLError,), {})
        setattr(self, name, error)
        return error

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if error := self.lost.get(index):
            raise error
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return b"Old T4" if handle else "Tesla T4"

    def nvmlDeviceGetUUID(self, handle: int) -> str | bytes:
        return b"GPU-1" if handle else "GPU-0"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:
        return SimpleNamespace(used=3 * 2**30, total=15 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> object:
        return SimpleNamespace(gpu=97, memory=50)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 71

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 69_500

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return 7_200_500

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return 70_000

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        return 0x4

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return 0x4

    def nvmlSystemGetDriverVersion(self) -> str | bytes:
        return b"550.54"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[object]:
        process = SimpleNamespace(pid=4711, usedGpuMemory=2**30)
        return [] if handle else [process, SimpleNamespace(pid=4712, usedGpuMemory=None)]


FIRST = GpuSample(
    *(0, "Tesla T4", 3 * 2**30, 15 * 2**30, 97, 71, 69.5, "GPU-0"), (GpuProcess(4711, 2**30), GpuProcess(4712, None)),
    power_limit_watts=70.0, throttling=("power cap",), driver="550.54", energy_joules=7200.5,
)  # fmt: skip
SECOND = GpuSample(
    *(1, "Old T4", 3 * 2**30, 15 * 2**30, 97, 71, 69.5, "GPU-1"),
    power_limit_watts=70.0, throttling=("power cap",), driver="550.54", energy_joules=7200.5,
)  # fmt: skip


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_cards_are_sampled(nvml: FakeNvml) -> None:
    assert Nvml().answer() == GpuAnswer((FIRST, SECOND))


@pytest.mark.parametrize("error", ["NotSupported", "NoPermission", "FunctionNotFound"])
@pytest.mark.parametrize(
    ("function", "field", "value"),
    [
        ("nvmlDeviceGetMemoryInfo", "memory_used", None),
        ("nvmlDeviceGetMemoryInfo", "memory_total", None),
        ("nvmlDeviceGetUtilizationRates", "utilisation", None),
        ("nvmlDeviceGetTemperature", "temperature", None),
        ("nvmlDeviceGetPowerUsage", "power_watts", None),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_watts", None),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_joules", None),
        ("nvmlSystemGetDriverVersion", "driver", ""),
        ("nvmlDeviceGetUUID", "uuid", ""),
        ("nvmlDeviceGetName", "name", "GPU"),
        ("nvmlDeviceGetComputeRunningProcesses", "processes", ()),
    ],
)
def test_what_a_card_does_not_tell_is_left_out(
    nvml: FakeNvml, error: str, function: str, field: str, value: object
) -> None:
    nvml.failing[function] = getattr(nvml, f"NVMLError_{error}")(error)
    gpus = Nvml().answer().gpus
    assert [getattr(gpu, field) for gpu in gpus] == [value, value]
    assert [gpu.index for gpu in gpus] == [0, 1]


@pytest.mark.parametrize("error", ["NotSupported", "FunctionNotFound"])
def test_throttling_is_asked_by_its_old_name_too_and_left_out_if_neither_is_known(nvml: FakeNvml, error: str) -> None:
    refused = getattr(nvml, f"NVMLError_{error}")(error)
    nvml.failing["nvmlDeviceGetCurrentClocksEventReasons"] = refused
    assert Nvml().answer().gpus[0].throttling == ("power cap",)
    nvml.failing["nvmlDeviceGetCurrentClocksThrottleReasons"] = refused
    assert Nvml().answer().gpus[0].throttling is None


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (0, ()),
        (REASON.GpuIdle, ()),
        (REASON.ApplicationsClocksSetting, ()),
        (REASON.SyncBoost | REASON.DisplayClockSetting, ()),
        (REASON.SwPowerCap, ("power cap",)),
        (REASON.SwThermalSlowdown, ("thermal",)),
        (REASON.HwSlowdown, ("hardware slowdown",)),
        (REASON.HwSlowdown | REASON.HwThermalSlowdown, ("thermal (hardware)",)),
        (REASON.HwSlowdown | REASON.HwPowerBrakeSlowdown, ("power brake",)),
        (REASON.SwPowerCap | REASON.SwThermalSlowdown, ("power cap", "thermal")),
    ],
)  # fmt: skip
def test_what_holds_the_clocks_down_is_told_in_words_and_idle_is_nothing(reasons: int, words: tuple[str, ...]) -> None:
    assert throttle_words(reasons) == words


def test_machine_without_a_driver_says_why_and_need_not_be_asked_again(nvml: FakeNvml) -> None:
    nvml.failing["nvmlInit"] = nvml.NVMLError_DriverNotLoaded("Driver Not Loaded")
    assert Nvml().answer() == GpuAnswer(absence="no NVIDIA GPU: Driver Not Loaded", final=True)


@pytest.mark.parametrize("error", [NVMLError("Driver/library version mismatch"), OSError("libnvidia-ml.so.1: bad ELF")])
def test_driver_that_does_not_work_says_why(nvml: FakeNvml, error: Exception) -> None:
    nvml.failing["nvmlInit"] = error
    assert Nvml().answer() == GpuAnswer(absence=f"no NVIDIA GPU: {error}")


def test_machine_without_the_package_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    answer = Nvml().answer()
    assert answer.absence.startswith("no NVIDIA GPU: import of pynvml") and answer.final


def test_driver_without_a_card(nvml: FakeNvml) -> None:
    nvml.cards = 0
    assert Nvml().answer() == GpuAnswer(absence="no NVIDIA GPU: the driver knows of none", final=True)


def test_card_that_falls_off_the_bus_takes_no_other_with_it(nvml: FakeNvml) -> None:
    library = Nvml()
    assert library.answer().gpus == (FIRST, SECOND)
    nvml.lost[0] = NVMLError("GPU is lost")
    lost = GpuSample(0, "does not answer: GPU is lost", None, None, None, None, None)
    assert library.answer() == GpuAnswer((lost, SECOND))


@pytest.mark.parametrize("function", ["nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"])
def test_only_card_that_falls_off_the_bus_is_an_absence(nvml: FakeNvml, function: str) -> None:
    library = Nvml()
    assert library.answer().gpus
    nvml.failing[function] = NVMLError("GPU is lost")
    assert library.answer() == GpuAnswer(absence="the GPU stopped answering: GPU is lost")


def test_machine_is_sampled() -> None:
    telemetry = Telemetry()
    sample = telemetry.sample()
    assert sample.memory_total == psutil.virtual_memory().total
    assert 0 < sample.memory_used < sample.memory_total
    assert 0 <= sample.cpu_percent <= 100
    telemetry.close()
    telemetry.close()

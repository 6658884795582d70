"""Load of this machine: GPUs through NVML, processor and memory through psutil.

NVML is NVIDIA's own interface (nvidia-ml-py); without a driver the sample says why there are no GPUs in it.
"""

from __future__ import annotations

import contextlib
from typing import Any

import psutil
from msgspec import Struct


class GpuProcess(Struct, frozen=True):
    """A process that computes on a GPU; None where the card does not tell how much memory it holds."""

    pid: int
    memory_bytes: int | None


class GpuSample(Struct, frozen=True):
    """One GPU at one moment; None where the card does not tell."""

    index: int
    name: str
    memory_used: int | None
    memory_total: int | None
    utilisation: int | None
    temperature: int | None
    power_watts: float | None
    uuid: str
    processes: tuple[GpuProcess, ...]


class MachineSample(Struct, frozen=True):
    """The machine at one moment: processor in percent of all cores, memory in bytes.

    `gpu_absence` is one sentence on why `gpus` is empty, or "".
    """

    cpu_percent: float
    memory_used: int
    memory_total: int
    gpus: tuple[GpuSample, ...]
    gpu_absence: str


class Telemetry:
    """Samples the machine. Blocking: NVML may take tens of milliseconds, so ask from a worker thread."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._absence = "not asked yet"
        psutil.cpu_percent()  # the first call has nothing to compare with and returns 0

    def open(self) -> None:
        """Load NVML; without it, or a driver, samples carry the reason instead of GPUs."""
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception as error:  # NVML's errors have no common cause: no library, no driver, versions that differ
            self._absence = f"no NVIDIA GPU: {error}"
            return
        self._nvml, self._absence = pynvml, ""

    def close(self) -> None:
        if self._nvml is not None:
            with contextlib.suppress(Exception):
                self._nvml.nvmlShutdown()
            self._nvml = None

    def sample(self) -> MachineSample:
        """The machine now."""
        memory = psutil.virtual_memory()
        gpus = self._gpus()
        return MachineSample(
            cpu_percent=psutil.cpu_percent(),
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            gpus=gpus,
            gpu_absence=self._absence if not gpus else "",
        )

    def _gpus(self) -> tuple[GpuSample, ...]:
        if self._nvml is None:
            return ()
        try:
            return tuple(self._gpu(index) for index in range(self._nvml.nvmlDeviceGetCount()))
        except Exception as error:  # a driver unloaded or a card fallen off the bus must not end the screen
            self._absence = f"the GPU stopped answering: {error}"
            return ()

    def _gpu(self, index: int) -> GpuSample:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(handle)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        return GpuSample(
            index=index,
            name=name.decode() if isinstance(name, bytes) else str(name),
            memory_used=int(memory.used) if memory else None,
            memory_total=int(memory.total) if memory else None,
            utilisation=int(rates.gpu) if rates else None,
            temperature=self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_watts=power / 1000 if power is not None else None,
            uuid=uuid.decode() if isinstance(uuid := nvml.nvmlDeviceGetUUID(handle), bytes) else str(uuid),
            processes=tuple(
                GpuProcess(process.pid, process.usedGpuMemory)
                for process in self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
            ),
        )

    def _ask(self, question: Any, *arguments: Any) -> Any:
        """An answer, None where this card does not support the question."""
        try:
            return question(*arguments)
        except self._nvml.NVMLError_NotSupported:
            return None


def sample_gpus() -> tuple[tuple[GpuSample, ...], str]:
    """The GPUs now, and one sentence on why there are none, or ""."""
    telemetry = Telemetry()
    telemetry.open()
    try:
        sample = telemetry.sample()
    finally:
        telemetry.close()
    return sample.gpus, sample.gpu_absence

"""Ask NVML about GPUs. `python -P -m engine.system.nvml` answers each line of its input with a line of JSON.

NVML, NVIDIA's own interface (nvidia-ml-py), sometimes hangs or crashes the process that asks it. So this is a process
of its own, which `engine.system.telemetry` talks to.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

UNAVAILABLE = ("NotSupported", "NoPermission", "FunctionNotFound", "ArgumentVersionMismatch", "NoData")
NO_DRIVER = ("LibraryNotFound", "DriverNotLoaded", "GpuNotFound")
# NVML's clocks event reasons (nvml.h, nvmlClocksEventReason*) that mean a card runs slower than it could. Left out are
# idle (0x1) and clocks that somebody chose or that a group of cards shares (0x2, 0x10, 0x100).
HARDWARE_SLOWDOWN = 0x8  # also set with each of the two reasons that name its cause
HARDWARE_CAUSES = {0x40: "thermal (hardware)", 0x80: "power brake"}
SLOWED_BY = {0x4: "power cap", 0x20: "thermal", **HARDWARE_CAUSES}


class GpuProcess(Struct, frozen=True):
    """A process that computes on a GPU; `memory_bytes` of that GPU, None where the card does not report it."""

    pid: int
    memory_bytes: int | None


class GpuSample(Struct, frozen=True):
    """One GPU at one moment, memory in bytes, utilisation in percent; None where the card does not report a figure.

    Attributes:
        uuid: identifies the card, whose index may differ between programs; "" if unknown.
        power_limit_watts: the limit that the driver enforces.
        throttling: the reasons why its clocks are slowed, in words; empty without any.
        driver: version of the driver, "" if unknown.
        energy_joules: what the card has used since its driver was loaded.
    """

    index: int
    name: str
    memory_used: int | None
    memory_total: int | None
    utilisation: int | None
    temperature: int | None
    power_watts: float | None
    uuid: str = ""
    processes: tuple[GpuProcess, ...] = ()
    power_limit_watts: float | None = None
    throttling: tuple[str, ...] | None = None
    driver: str = ""
    energy_joules: float | None = None


class GpuAnswer(Struct, frozen=True):
    """The GPUs, or one sentence on why there are none; `final` if asking again will not change that."""

    gpus: tuple[GpuSample, ...] = ()
    absence: str = ""
    final: bool = False


class Nvml:
    """The library NVML, loaded at the first question."""

    def __init__(self) -> None:
        self._nvml: Any = None

    def answer(self) -> GpuAnswer:
        """Return the GPUs as they are now. After an absence, another process must load NVML again."""
        try:
            if self._nvml is None:
                self._open()
        except Exception as error:  # the errors have no common class: no library, no driver, version mismatch
            return GpuAnswer(absence=f"no NVIDIA GPU: {error}", final=_is_final(error))
        try:
            gpus = self._cards()
        except Exception as error:
            return GpuAnswer(absence=f"the GPU stopped answering: {error}")
        return GpuAnswer(gpus) if gpus else GpuAnswer(absence="no NVIDIA GPU: the driver knows of none", final=True)

    def _open(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml = pynvml

    def _cards(self) -> tuple[GpuSample, ...]:
        """Sample every card; the name of one that does not answer says so. Raises if none answers."""
        cards: list[GpuSample] = []
        errors: list[Exception] = []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                cards.append(self._card(index))
            except Exception as error:  # the others still answer if one card fell off the bus
                errors.append(error)
                cards.append(GpuSample(index, f"does not answer: {error}", None, None, None, None, None))
        if errors and len(errors) == len(cards):
            raise errors[0]
        return tuple(cards)

    def _card(self, index: int) -> GpuSample:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        limit = self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        energy = self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        processes = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        return GpuSample(
            index=index,
            name=_text(self._ask(nvml.nvmlDeviceGetName, handle)) or "GPU",
            memory_used=int(memory.used) if memory else None,
            memory_total=int(memory.total) if memory else None,
            utilisation=int(rates.gpu) if rates else None,
            temperature=self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_watts=power / 1000 if power is not None else None,
            uuid=_text(self._ask(nvml.nvmlDeviceGetUUID, handle)),
            processes=tuple(GpuProcess(process.pid, process.usedGpuMemory) for process in processes),
            power_limit_watts=limit / 1000 if limit is not None else None,
            throttling=self._throttling(handle),
            driver=_text(self._ask(nvml.nvmlSystemGetDriverVersion)),
            energy_joules=energy / 1000 if energy is not None else None,  # Volta and later count it
        )

    def _throttling(self, handle: Any) -> tuple[str, ...] | None:
        """Ask by the function's new name, or by the one that drivers before 535 know."""
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            reasons = self._ask(getattr(self._nvml, name), handle)
            if reasons is not None:
                return throttle_words(reasons)
        return None

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """Return an answer, None where this card, driver or user gets none."""
        try:
            return question(*arguments)
        except _errors(self._nvml, UNAVAILABLE):
            return None


def throttle_words(reasons: int) -> tuple[str, ...]:
    """Translate NVML's bits for clocks event reasons into words, as far as they mean a slower card."""
    words = [word for bit, word in SLOWED_BY.items() if reasons & bit]
    if reasons & HARDWARE_SLOWDOWN and not any(reasons & bit for bit in HARDWARE_CAUSES):
        words.append("hardware slowdown")
    return tuple(words)


def _errors(nvml: Any, names: tuple[str, ...]) -> tuple[type[Exception], ...]:
    """Return NVML's error classes of these names."""
    return tuple(getattr(nvml, f"NVMLError_{name}") for name in names)


def _text(value: object) -> str:
    """Decode a text, which older versions of NVML return as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _is_final(error: Exception) -> bool:
    """Return True if the package, library or driver is missing, which waiting does not change."""
    nvml = sys.modules.get("pynvml")
    return nvml is None or isinstance(error, _errors(nvml, NO_DRIVER))


def _serve(requests: SimpleQueue[bytes], out: BinaryIO) -> None:
    nvml, answer = Nvml(), GpuAnswer()
    with contextlib.suppress(OSError):  # nobody reads any more
        while not answer.absence:
            requests.get()
            answer = nvml.answer()
            out.write(msgspec.json.encode(answer) + b"\n")
            out.flush()
    os._exit(0)


def main() -> None:
    """Answer until the standard input closes, even while NVML hangs: the process ends with the one that asks."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_serve, args=(requests, out), daemon=True).start()
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()

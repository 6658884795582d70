"""Where a round may be trained: on one GPU that nobody uses, or on the machine as it is when there is no choice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

from engine.system.telemetry import GpuSample, sample_gpus
from engine.text.humanize import format_bytes

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
RELEASE_SECONDS = 5.0  # that the memory of an ended process may still show on its GPU
RELEASE_POLL_SECONDS = 0.05

SampleGpus = Callable[[], tuple[tuple[GpuSample, ...], str]]


class GpuSlots:
    """The GPUs of this machine that rounds may have, those of CUDA_VISIBLE_DEVICES if it is set.

    With one GPU or none there is one place, named None: the engine takes what it finds.
    """

    def __init__(self, sample: SampleGpus = sample_gpus, environment: Mapping[str, str] = os.environ) -> None:
        self._sample = sample
        self._allowed = environment.get(GPU_VARIABLE)

    def gpus(self) -> list[GpuSample]:
        """The GPUs now; empty if there are none, or none that may be used."""
        found, _ = self._sample()
        if self._allowed is None:
            return list(found)
        named = [name.strip() for name in self._allowed.split(",") if name.strip()]
        return [gpu for gpu in found if any(_is_named(gpu, name) for name in named)]

    def free(self, taken: Iterable[str | None]) -> tuple[bool, str | None]:
        """(whether a round may be started beside those on the GPUs in `taken`, on which GPU).

        A GPU with someone else's process on it is left to them, unless no other GPU has none: a round does not wait for
        strangers.
        """
        taken = set(taken)
        if None in taken:
            return False, None
        gpus = self.gpus()
        if len(gpus) < 2:
            return not taken, None
        idle = [gpu for gpu in gpus if gpu.uuid not in taken and not gpu.processes]
        if idle:
            return True, max(idle, key=_free_bytes).uuid
        return not taken, max(gpus, key=_free_bytes).uuid

    def still_held(self, pids: set[int], seconds: float = RELEASE_SECONDS) -> str:
        """What processes that are gone still hold of the GPUs after `seconds`, in words; "" for nothing."""
        end = time.monotonic() + seconds
        while held := [
            f"{format_bytes(process.memory_bytes) or 'some memory'} of GPU {gpu.index}"
            for gpu in (self.gpus() if pids else ())
            for process in gpu.processes
            if process.pid in pids
        ]:
            if time.monotonic() > end:
                return ", ".join(held)
            time.sleep(RELEASE_POLL_SECONDS)
        return ""


def _is_named(gpu: GpuSample, name: str) -> bool:
    """As CUDA reads a word of CUDA_VISIBLE_DEVICES: an index, or a UUID that may be cut short."""
    return name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name))


def _free_bytes(gpu: GpuSample) -> int:
    return (gpu.memory_total or 0) - (gpu.memory_used or 0)

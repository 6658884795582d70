"""Slots for rounds: one for each free GPU, or one for the whole machine if it has one GPU or none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

from engine.system.telemetry import GpuSample, sample_gpus
from engine.text.humanize import format_bytes

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
RELEASE_SECONDS = 5.0  # the memory of an ended process may show on its GPU for so long
RELEASE_POLL_SECONDS = 0.05

SampleGpus = Callable[[], tuple[tuple[GpuSample, ...], str]]


class GpuSlots:
    """The GPUs of this machine that rounds may use: all, or those of CUDA_VISIBLE_DEVICES if it is set.

    With one GPU or none there is one slot, named None: the engine chooses its device.
    """

    def __init__(self, sample: SampleGpus = sample_gpus, environment: Mapping[str, str] = os.environ) -> None:
        self._sample = sample
        self._allowed = environment.get(GPU_VARIABLE)

    def gpus(self) -> list[GpuSample]:
        """Sample the usable GPUs; empty if there is none."""
        all_gpus, _ = self._sample()
        if self._allowed is None:
            return list(all_gpus)
        named = [name.strip() for name in self._allowed.split(",") if name.strip()]
        return [gpu for gpu in all_gpus if any(_is_named(gpu, name) for name in named)]

    def free(self, used: Iterable[str | None]) -> tuple[bool, str | None]:
        """Return (whether a round may start beside those on the GPUs in `used`, the GPU for it).

        A GPU with someone else's process on it is used only if every GPU has one and no round runs: a round does not
        wait for strangers.
        """
        used = set(used)
        if None in used:
            return False, None
        gpus = self.gpus()
        if len(gpus) < 2:
            return not used, None
        idle = [gpu for gpu in gpus if gpu.uuid not in used and not gpu.processes]
        if idle:
            return True, max(idle, key=_free_bytes).uuid
        return not used, max(gpus, key=_free_bytes).uuid

    def still_held(self, pids: set[int], seconds: float = RELEASE_SECONDS) -> str:
        """Say which GPU memory ended processes still occupy after `seconds`; "" for none."""
        end = time.monotonic() + seconds
        while memory := [
            f"{format_bytes(process.memory_bytes) or 'some memory'} of GPU {gpu.index}"
            for gpu in (self.gpus() if pids else ())
            for process in gpu.processes
            if process.pid in pids
        ]:
            if time.monotonic() > end:
                return ", ".join(memory)
            time.sleep(RELEASE_POLL_SECONDS)
        return ""


def _is_named(gpu: GpuSample, name: str) -> bool:
    """Match a word of CUDA_VISIBLE_DEVICES as CUDA does: an index, or a UUID that may be cut short."""
    return name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name))


def _free_bytes(gpu: GpuSample) -> int:
    return (gpu.memory_total or 0) - (gpu.memory_used or 0)

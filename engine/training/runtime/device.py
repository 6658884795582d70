"""Choice of the device and precision of training. `python -P -m engine.training.runtime.device` prints it as JSON."""

from __future__ import annotations

import json
import math
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import torch

from engine.errors import SpecError, TrainingError

OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "MPS backend out of memory",
)
NEEDED = re.compile(r"(?:[Tt]ried to allocate|Unable to allocate) ([\d.]+) ([KMGTkmgt]?i?[Bb])")
FREE = re.compile(r"of which ([\d.]+) ([KMGT]?i?B) is free")
UNITS = "BKMGT"
MORE_MEMORY = (
    "try train.micro_batches auto, train.gradient_checkpointing auto, model.load_in_4bit, or a shorter data.max_length"
)
TRIALS, TRIAL_ROWS, MARGIN = 5, 512, 1.3
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


_traced_type: ContextVar[str | None] = ContextVar("_traced_type", default=None)


@contextmanager
def traced_as(device_type: str) -> Iterator[None]:
    """Have kernels choose as on a device of that type, in a trace whose tensors have no numbers."""
    token = _traced_type.set(device_type)
    try:
        yield
    finally:
        _traced_type.reset(token)


def kernel_type(tensor: torch.Tensor) -> str:
    """Return the type of the device that computes with `tensor`, or that a trace stands for."""
    return _traced_type.get() or tensor.device.type


def choose_device() -> torch.device:
    """Choose CUDA if there is a device, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def use_fast_kernels(device: torch.device) -> None:
    """Let a GPU multiply float32 matrices in TF32, which keeps 10 of 23 bits of the mantissa and is far faster."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def resolve_dtype(setting: str, device: torch.device, hidden_size: int = 1024) -> torch.dtype:
    """Return the dtype of `model.dtype` on a device.

    `auto` is bfloat16 where the device multiplies it natively, else float16 on CUDA and float32 elsewhere. A card that
    only emulates bfloat16, such as a T4, is many times slower in it. A CPU gets bfloat16 only if it is faster than
    float32 in a trial with matrices of the model's `hidden_size`.

    Raises:
        SpecError: float16 where no gradient scaler can keep its gradients from vanishing.
    """
    if setting != "auto":
        if setting == "float16" and device.type != "cuda":
            raise SpecError(
                f"model.dtype is float16, which {device.type.upper()} cannot train in: set it to auto or float32",
                "model.dtype",
            )
        return DTYPES[setting]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if device.type == "cpu" and _multiplies_bfloat16() and _bfloat16_is_faster(hidden_size):
        return torch.bfloat16
    return torch.float32


def emulates(dtype: torch.dtype, device: torch.device) -> bool:
    """Return whether a device computes in `dtype` without instructions for it, which takes many times as long."""
    if dtype is not torch.bfloat16 or device.type not in ("cuda", "cpu"):
        return False
    if device.type == "cuda":
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    return not _multiplies_bfloat16()


def _multiplies_bfloat16() -> bool:
    """Return whether the CPU has instructions for it: AVX512-BF16 or AMX on x86, BF16 on Arm."""
    if platform.machine() in ("arm64", "aarch64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _bfloat16_is_faster(hidden_size: int) -> bool:
    """Compare the fastest of a few products in turn, of the sizes of training; `MARGIN` allows for casts."""
    fastest = {torch.float32: math.inf, torch.bfloat16: math.inf}
    for _ in range(TRIALS):
        for dtype in fastest:
            rows, weights = (torch.ones(size, hidden_size, dtype=dtype) for size in (TRIAL_ROWS, hidden_size))
            started = time.perf_counter()
            rows @ weights
            fastest[dtype] = min(fastest[dtype], time.perf_counter() - started)
    return fastest[torch.bfloat16] * MARGIN < fastest[torch.float32]


def random_state() -> dict[str, torch.Tensor]:
    """Return the state of the random generators, by the type of their device."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Restore the random generators to `state`."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; outside CUDA torch has no exception class for that."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    )


@contextmanager
def out_of_memory(when: str) -> Iterator[None]:
    """Turn torch's error into one that says what to do; `when` is such as "at step 12".

    Raises:
        TrainingError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"out of {_memory_needed(error, when)}; {MORE_MEMORY}") from error


def _memory_needed(error: BaseException, when: str) -> str:
    """Say which memory ran out, what was needed and what was free, as far as the error's text has it."""
    text = str(error)
    kind = "GPU memory" if isinstance(error, torch.OutOfMemoryError) or "MPS backend" in text else "memory"
    needed, free = (_bytes_in(pattern, text) for pattern in (NEEDED, FREE))
    if needed is None:
        return f"{kind} {when}"
    unit, name = (1024**3, "GiB") if needed >= 1024**3 else (1024**2, "MiB")
    available = f", {free / unit:.1f} {name} free" if free is not None else ""
    return f"{kind} {when}: {needed / unit:.1f} {name} needed{available}"


def _bytes_in(pattern: re.Pattern[str], text: str) -> float | None:
    match = pattern.search(text)
    return float(match[1]) * 1024 ** UNITS.index(match[2][0].upper()) if match else None


def device_name(device: torch.device) -> str:
    """Return the product name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak allocation on a CUDA device, elsewhere the peak resident size of the process (getrusage(2))."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    device = choose_device()
    report = {
        "torch": torch.__version__,
        "device": device.type,
        "name": device_name(device),
        "dtype": str(resolve_dtype("auto", device)).removeprefix("torch."),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

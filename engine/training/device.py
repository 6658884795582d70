"""Where training runs and in which precision. `python -P -m engine.training.device` prints it as JSON."""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.errors import SpecError, TrainingError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device() -> torch.device:
    """CUDA before MPS before the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def resolve_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`model.dtype` for a device; `auto` is bfloat16 where the device multiplies it natively, else float16 on CUDA.

    A card that only emulates bfloat16, as a T4 does, is asked for it in vain at a fraction of its speed.

    Raises:
        SpecError: float16 where no gradient scaler can keep its gradients from vanishing.
    """
    if wanted != "auto":
        if wanted == "float16" and device.type != "cuda":
            raise SpecError(
                f"model.dtype is float16, which {device.type.upper()} cannot train in: set it to auto or float32",
                "model.dtype",
            )
        return DTYPES[wanted]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return torch.float32


@contextmanager
def out_of_memory(when: str) -> Iterator[None]:
    """Turn torch's error into one a person can act on; `when` is such as "at step 12".

    Raises:
        TrainingError: the GPU has no memory left.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"out of GPU memory {when}: try a smaller train.per_device_train_batch_size, "
            f"train.gradient_checkpointing, or a shorter data.max_length"
        ) from error


def device_name(device: torch.device) -> str:
    """What the device is called by those who sell it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def peak_memory_bytes(device: torch.device) -> int:
    """Highest allocation on a CUDA device, elsewhere the process's highest resident size (getrusage(2))."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    device = choose_device()
    told = {
        "torch": torch.__version__,
        "device": device.type,
        "name": device_name(device),
        "dtype": str(resolve_dtype("auto", device)).removeprefix("torch."),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()

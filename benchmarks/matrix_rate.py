"""The matrix rate of a device: `python -m benchmarks.matrix_rate DEVICE DTYPE` prints operations per second.

DEVICE is cpu or cuda, DTYPE the precision that is trained in: float32, bfloat16 or float16.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

SIZE = {"cuda": 8192, "cpu": 2048}
WARM_UP, TIMES = {"cuda": 10, "cpu": 2}, {"cuda": 50, "cpu": 12}


def seconds_on_gpu(work: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    milliseconds: float = begin.elapsed_time(end)
    return milliseconds / 1000


def seconds_on_cpu(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    device, dtype = sys.argv[1:]
    size = SIZE[device]
    left, right = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    seconds_of = seconds_on_gpu if device == "cuda" else seconds_on_cpu
    seconds = [seconds_of(lambda: torch.mm(left, right)) for _ in range(WARM_UP[device] + TIMES[device])]
    print(2 * size**3 / statistics.median(seconds[WARM_UP[device] :]))


if __name__ == "__main__":
    main()

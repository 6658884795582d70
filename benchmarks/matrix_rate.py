"""The bfloat16 matrix rate of the CUDA device: `python -m benchmarks.matrix_rate` prints operations per second."""

from __future__ import annotations

import statistics

import torch

SIZE = 8192
WARM_UP, TIMES = 10, 50


def timed_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)


def main() -> None:
    left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(WARM_UP + TIMES):
        begin, end = timed_event(), timed_event()
        begin.record()
        torch.mm(left, right)
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    print(2 * SIZE**3 / statistics.median(seconds[WARM_UP:]))


if __name__ == "__main__":
    main()

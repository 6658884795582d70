"""The rate of matrix products on this processor: `python -P -m engine.training.workers.matrix_rate`.

It reads a precision as a line of JSON, "float32" or "bfloat16", and replies to `engine.system.matrix_rate`.
"""

from __future__ import annotations

import sys
import time

import msgspec

from engine.system.matrix_rate import MatrixRate
from engine.training.workers.start import start_worker

SIZE, WARM_UP, TIMES = 1024, 3, 20


def main() -> None:
    replies = start_worker()
    dtype = msgspec.json.decode(sys.stdin.buffer.readline(), type=str)
    with replies.errors_as_refusals():
        replies.send(MatrixRate(measure(dtype)))


def measure(dtype: str) -> float:
    """Return the operations of a product of two square matrices in a second, in the fastest of `TIMES`.

    Others may compute meanwhile, which they need not do while the round trains.
    """
    import torch

    first, second = (torch.randn(SIZE, SIZE).to(getattr(torch, dtype)) for _ in range(2))
    seconds = []
    for _ in range(WARM_UP + TIMES):
        started = time.perf_counter()
        torch.mm(first, second)
        seconds.append(time.perf_counter() - started)
    return 2 * SIZE**3 / min(seconds[WARM_UP:])


if __name__ == "__main__":
    main()

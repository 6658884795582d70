"""The number of tokens that go through the model at once, measured by trial passes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import torch

from engine.errors import TrainingError
from engine.system.allowance import memory
from engine.training.data.tokenize import Example
from engine.training.model.adapter import recompute_activations, trainable_parameters
from engine.training.model.forward import Forward
from engine.training.runtime.device import is_out_of_memory

CPU_TOKENS = 8192  # a longer pass is not faster per token
CPU_SHARE, GPU_SHARE = 0.5, 0.9  # of the free memory; a CPU's is shared with all other processes
SAMPLE_SECONDS = 0.005
OPTIMIZER_BYTES = 8  # per trained parameter: AdamW's two moments in float32, allocated by the first step


@dataclass(frozen=True)
class Budget:
    """Limits of one micro-batch.

    Attributes:
        tokens: the most it may have, a single longer row aside.
        gradient_checkpointing: whether activations are recomputed.
        bytes: estimated peak of the training: the memory in use now and that of the largest micro-batch.
    """

    tokens: int
    gradient_checkpointing: bool
    bytes: int


def measure_budget(
    forward: Forward, train: Sequence[Example], effective_batch: int, checkpointing: bool | None
) -> Budget:
    """Measure the memory of forward and backward of the longest row, and derive how many tokens fit.

    With `checkpointing` None activations are recomputed only if the longest row does not fit otherwise.

    Raises:
        TrainingError: the longest row does not fit.
    """
    longest_first = sorted(train, key=len, reverse=True)
    whole_step = sum(map(len, longest_first[:effective_batch]))
    most = whole_step if forward.device.type == "cuda" else min(CPU_TOKENS, whole_step)
    base = _bytes_in_use(forward.device)
    for recompute in (False, True) if checkpointing is None else (checkpointing,):
        recompute_activations(forward.model, recompute)
        room = _room(forward)
        if (used := _try(forward, longest_first[:1])) is None or used > room:
            continue
        longest = len(longest_first[0])
        tokens = max(longest, min(most, int(longest * room / max(used, 1))))
        if forward.device.type == "cuda":
            tokens, used = _confirm(forward, longest_first, tokens, used)
        else:
            used = used * tokens // longest
        return Budget(tokens, recompute, base + used)
    where = "GPU memory" if forward.device.type == "cuda" else "memory"
    raise TrainingError(
        f"out of {where} with a single row of {len(longest_first[0])} tokens: set a shorter data.max_length"
        + ("" if checkpointing is None or checkpointing else ", train.gradient_checkpointing auto")
        + ", or choose a smaller model"
    )


def fits_twice(budget: Budget, forward: Forward) -> bool:
    """Return whether the memory of the largest micro-batch of `budget` fits a second time."""
    return 2 * (budget.bytes - _bytes_in_use(forward.device)) <= _room(forward)


def _confirm(forward: Forward, longest_first: Sequence[Example], tokens: int, used: int) -> tuple[int, int]:
    """Try the estimate from one row, and halve it until it fits; return (tokens, bytes)."""
    longest = len(longest_first[0])
    while tokens > longest:
        rows, total = [], 0
        for example in longest_first:
            if total + len(example) > tokens:
                break
            rows.append(example)
            total += len(example)
        needed = _try(forward, rows)
        if needed is not None and needed <= _room(forward):
            return tokens, needed
        tokens //= 2
    return longest, used


def _room(forward: Forward) -> int:
    """Return the bytes that a micro-batch may use: a share of the free memory, less the optimizer state to come."""
    optimizer_state = OPTIMIZER_BYTES * sum(parameter.numel() for parameter in trainable_parameters(forward.model))
    if forward.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(forward.device)
        unused = torch.cuda.memory_reserved(forward.device) - torch.cuda.memory_allocated(forward.device)
        return int(GPU_SHARE * (free + unused)) - optimizer_state
    return int(CPU_SHARE * memory().available) - optimizer_state


def _bytes_in_use(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def _try(forward: Forward, rows: Sequence[Example]) -> int | None:
    """Return the bytes that forward and backward of `rows` use, None if memory runs out.

    After another error the model's own code is tried.

    Gradients are cleared and the random state is restored.
    """
    devices = [forward.device] if forward.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            return _peak_of(lambda: torch.autograd.backward(forward.nll(forward.batch(rows))), forward.device)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        if not forward.fall_back(error):
            raise
        return _try(forward, rows)
    finally:
        forward.model.zero_grad(set_to_none=True)
        if devices:
            torch.cuda.empty_cache()


def _peak_of(work: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes in use during `work`, less those before."""
    before = _bytes_in_use(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    peak, done = before, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, _bytes_in_use(device))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        work()
        peak = max(peak, _bytes_in_use(device))
    finally:
        done.set()
        watcher.join()
    return peak - before

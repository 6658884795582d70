"""How many tokens of a step go through the model at once: measured, not guessed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import torch

from engine.errors import TrainingError
from engine.training.data.tokenize import Example
from engine.training.model.adapter import recompute_activations, trainable_parameters
from engine.training.model.forward import Forward
from engine.training.runtime.device import is_out_of_memory

CPU_TOKENS = 8192  # beyond this a pass gains nothing by being longer
CPU_SHARE, GPU_SHARE = 0.5, 0.9  # of the memory that is free; a CPU's is shared with everybody on the machine
SAMPLE_SECONDS = 0.005
OPTIMIZER_BYTES = 8  # per trained parameter: AdamW's two moments in float32, which come with the first step


@dataclass(frozen=True)
class Budget:
    """What one micro-batch may hold.

    Attributes:
        tokens: the most it holds, a single longer row aside.
        gradient_checkpointing: whether activations are recomputed.
        bytes: estimated peak of the whole training: what is in use now and what the largest micro-batch takes on top.
    """

    tokens: int
    gradient_checkpointing: bool
    bytes: int


def measure_budget(
    forward: Forward, train: Sequence[Example], effective_batch: int, checkpointing: bool | None
) -> Budget:
    """Take the longest row through the model and back, and see how many tokens that leaves room for.

    `checkpointing` None recomputes activations only if the longest row does not fit without.

    Raises:
        TrainingError: not even the longest row fits.
    """
    longest_first = sorted(train, key=len, reverse=True)
    whole_step = sum(map(len, longest_first[:effective_batch]))
    most = whole_step if forward.device.type == "cuda" else min(CPU_TOKENS, whole_step)
    base = _bytes_in_use(forward.device)
    for recompute in (False, True) if checkpointing is None else (checkpointing,):
        recompute_activations(forward.model, recompute)
        room = _room(forward)
        if (taken := _try(forward, longest_first[:1])) is None or taken > room:
            continue
        longest = len(longest_first[0])
        tokens = max(longest, min(most, int(longest * room / max(taken, 1))))
        if forward.device.type == "cuda":
            tokens, taken = _confirm(forward, longest_first, tokens, taken)
        else:
            taken = taken * tokens // longest
        return Budget(tokens, recompute, base + taken)
    where = "GPU memory" if forward.device.type == "cuda" else "memory"
    raise TrainingError(
        f"out of {where} with a single row of {len(longest_first[0])} tokens: set a shorter data.max_length"
        + ("" if checkpointing is None or checkpointing else ", train.gradient_checkpointing auto")
        + ", or take a smaller model"
    )


def fits_twice(budget: Budget, forward: Forward) -> bool:
    """Whether the largest micro-batch of `budget` leaves as much memory free as it takes."""
    return 2 * (budget.bytes - _bytes_in_use(forward.device)) <= _room(forward)


def _confirm(forward: Forward, longest_first: Sequence[Example], tokens: int, taken: int) -> tuple[int, int]:
    """The estimate from one row, tried with as many as it says fit: (tokens, bytes) that do."""
    longest = len(longest_first[0])
    while tokens > longest:
        rows, held = [], 0
        for example in longest_first:
            if held + len(example) > tokens:
                break
            rows.append(example)
            held += len(example)
        tried = _try(forward, rows)
        if tried is not None and tried <= _room(forward):
            return tokens, tried
        tokens //= 2
    return longest, taken


def _room(forward: Forward) -> int:
    """Bytes that a micro-batch may take: a share of what is free, less what the optimizer will want."""
    later = OPTIMIZER_BYTES * sum(parameter.numel() for parameter in trainable_parameters(forward.model))
    if forward.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(forward.device)
        unused = torch.cuda.memory_reserved(forward.device) - torch.cuda.memory_allocated(forward.device)
        return int(GPU_SHARE * (free + unused)) - later
    return int(CPU_SHARE * psutil.virtual_memory().available) - later


def _bytes_in_use(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def _try(forward: Forward, rows: Sequence[Example]) -> int | None:
    """Bytes that `rows` take on their way through the model and back; None if there are not as many.

    Nothing of it is left behind: neither gradients nor a drawn random number.
    """
    devices = [forward.device] if forward.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            return _peak_of(lambda: torch.autograd.backward(forward.nll(forward.batch(rows))), forward.device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        forward.model.zero_grad(set_to_none=True)
        if devices:
            torch.cuda.empty_cache()


def _peak_of(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes in use during `work`, less those before."""
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

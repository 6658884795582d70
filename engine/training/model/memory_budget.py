"""The number of tokens that go through the model at once, measured by trial passes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import psutil
import torch
from torch.autograd.profiler import profile

from engine.errors import TrainingError
from engine.system.allowance import memory
from engine.system.training_memory import (
    CPU_BYTES,
    CPU_SHARE,
    FRAGMENTATION,
    GPU_SHARE,
    GRADIENT_BYTES,
    LATER_BYTES,
    OPTIMIZER_BYTES,
    tokens_at_once,
)
from engine.training.data.tokenize import Example
from engine.training.kernels.head_loss import is_faster_as_attention
from engine.training.kernels.packed_attention import PACKED_ATTENTION
from engine.training.model.adapter import recompute_activations, trainable_parameters
from engine.training.model.forward import Forward
from engine.training.model.operations import random_row
from engine.training.runtime.device import is_out_of_memory, peak_memory_bytes

SAMPLE_SECONDS = 0.005
# Of a row; one and two of them tell on a CPU how memory grows with tokens. Longer ones are tried if more than this
# share of what one uses does not grow: the gradient of an embedding, say, hides what activations of few tokens use.
TRIAL_TOKENS, FIXED_SHARE = (8, 32), 0.5


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


@dataclass(frozen=True)
class PassMemory:
    """Bytes that forward and backward use, as a function of their tokens: `fixed` + `per_token` * tokens."""

    fixed: float
    per_token: float

    def __call__(self, tokens: int) -> int:
        return round(self.fixed + self.per_token * tokens)

    def tokens_in(self, room: int) -> int:
        """Return the tokens for which `room` bytes suffice."""
        return int((room - self.fixed) / max(self.per_token, 1))


def measure_budget(
    forward: Forward,
    train: Sequence[Example],
    effective_batch: int,
    checkpointing: bool | None,
    largest_pass: Callable[[int], int] = lambda tokens: tokens,
) -> Budget:
    """Measure the memory of forward and backward of the longest row, and derive how many tokens fit.

    With `checkpointing` None activations are recomputed only if the longest row does not fit otherwise. `largest_pass`
    returns the tokens of the round's largest micro-batch where at most as many are allowed as it is given.

    Raises:
        TrainingError: the longest row does not fit.
    """
    longest_first = sorted(train, key=len, reverse=True)
    whole_step = sum(map(len, longest_first[:effective_batch]))
    longest = len(longest_first[0])
    for recompute in (False, True) if checkpointing is None else (checkpointing,):
        base = _bytes_in_use(forward.device)
        recompute_activations(forward.model, recompute)
        room = _room(forward)
        if (memory_of := _trial(forward, longest_first[0])) is None or (used := memory_of(longest)) > room:
            continue
        if forward.device.type == "cuda":
            tokens = max(longest, min(whole_step, int(longest * room / max(used, 1))))
            tokens, used = _confirm(forward, longest_first, tokens, used)
            return Budget(tokens, recompute, base + used)
        in_room, usual = memory_of.tokens_in(room), memory_of.tokens_in(CPU_BYTES)
        tokens = max(longest, tokens_at_once(whole_step, in_room, usual))
        return Budget(tokens, recompute, _resident_peak(forward, base + memory_of(largest_pass(tokens))))
    where = "GPU memory" if forward.device.type == "cuda" else "memory"
    raise TrainingError(
        f"out of {where} with a single row of {longest} tokens: set a shorter data.max_length"
        + ("" if checkpointing is None or checkpointing else ", train.gradient_checkpointing auto")
        + ", or choose a smaller model"
    )


def _trial(forward: Forward, longest: Example) -> PassMemory | None:
    """Return what passes use, None if memory runs out.

    On a CPU packed rows use memory in proportion to their tokens, so short ones tell what long ones use. What a model
    allocates only once it has allocated in earlier passes. Elsewhere the longest row is tried.
    """
    if forward.device.type == "cpu" and forward.packed:
        for tokens in (min(tokens, len(longest)) for tokens in TRIAL_TOKENS):
            row = random_row(forward.model, tokens, 0)
            head = forward.head
            if forward.fused_head and not is_faster_as_attention(head.weight, head.bias):  # some logits at a time, then
                row = Example(row.tokens, torch.arange(tokens) == tokens - 1)
            one, two = (_try(forward, [row] * count) for count in (1, 2))
            if one is None or two is None:
                return None
            per_token = max(0, two - one) / tokens
            fixed = one - per_token * tokens
            if not forward.packed or fixed <= FIXED_SHARE * one:
                break
        if forward.packed:  # still, as no pass failed
            return PassMemory(fixed, FRAGMENTATION * per_token)
    used_by_longest = _try(forward, [longest])
    return None if used_by_longest is None else PassMemory(0, used_by_longest / len(longest))


def _resident_peak(forward: Forward, used: int) -> int:
    """Return the peak of a process that uses `used` bytes in a pass: it may have had more while it loaded the model."""
    return max(used + _trained_bytes(forward) + LATER_BYTES, peak_memory_bytes(forward.device))


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
    """Return the bytes that a micro-batch may use: a share of the free memory, less what training allocates besides."""
    trained = _trained_bytes(forward)
    if forward.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(forward.device)
        unused = torch.cuda.memory_reserved(forward.device) - torch.cuda.memory_allocated(forward.device)
        return int(GPU_SHARE * (free + unused)) - trained
    return int(CPU_SHARE * memory().available) - trained


def _trained_bytes(forward: Forward) -> int:
    """Return what the trained parameters take beside a pass: the optimizer state to come, on a CPU gradients too."""
    of_each = OPTIMIZER_BYTES + (GRADIENT_BYTES if forward.device.type == "cpu" else 0)
    return of_each * sum(parameter.numel() for parameter in trainable_parameters(forward.model))


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
            batch = forward.batch(rows)
            if forward.device.type == "cpu":  # or of a short row gradients would be the peak, of a long one activations
                for parameter in trainable_parameters(forward.model):
                    parameter.grad = torch.zeros_like(parameter)
            PACKED_ATTENTION.set_rows(batch)  # here, as this frees the batch before, which is not to be measured
            return _peak_of(lambda: torch.autograd.backward(forward.nll(batch)), forward.device)
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
    """Return the most bytes in use during `work`, less those before; on a CPU those that torch allocates."""
    if device.type == "cpu":
        with profile(profile_memory=True) as profiler:
            work()
        assert profiler.kineto_results is not None
        events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
        changes: list[int] = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
        return max(accumulate(changes, initial=0))
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

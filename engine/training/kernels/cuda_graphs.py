"""Training passes captured as CUDA graphs, so that the GPU does not wait for the CPU that launches its kernels.

A pass is thousands of kernel launches, which can take the CPU longer than the work takes a fast GPU. A captured pass is
launched as a whole (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from engine.system.training_memory import rounded_up
from engine.training.data.batching import Batch
from engine.training.runtime.device import random_state, set_random_state

LENGTHS = 8  # per octave: a capture takes about as long as an eager pass, and the padding up to a length is computed
TOLERANCE = 0.02  # relative; kernels of the backward pass add up in no fixed order

HiddenStatesOf = Callable[[Batch], torch.Tensor]
Gradients = Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class CapturedPass:
    """One forward and backward pass of a fixed number of tokens; its inputs and outputs keep their memory.

    Attributes:
        batch: the static input. Behind the rows follow one row of padding up to the length, then rows of no tokens.
        forward_graph, backward_graph: the captured kernels.
        states: [1, tokens, hidden_size], the output of forward.
        gradient: [1, tokens, hidden_size], the input of backward: the gradient by `states`.
        gradients: those by the parameters, None for one that `states` does not depend on.
    """

    batch: Batch
    forward_graph: torch.cuda.CUDAGraph
    states: torch.Tensor
    gradient: torch.Tensor
    backward_graph: torch.cuda.CUDAGraph
    gradients: Gradients

    def replay_forward(self, batch: Batch) -> torch.Tensor:
        """Return `states` of the tokens of `batch` and of the padding behind them."""
        copy_into(batch, self.batch)
        self.forward_graph.replay()
        return self.states

    def replay_backward(self, gradient: torch.Tensor) -> Gradients:
        """Return `gradients`, which the next pass overwrites."""
        self.gradient.copy_(gradient)
        self.backward_graph.replay()
        return self.gradients


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, captured: CapturedPass, batch: Batch, *_: torch.Tensor) -> torch.Tensor:
        ctx.captured = captured
        return captured.replay_forward(batch).detach()

    @staticmethod
    def backward(ctx: Any, *grad_states: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients = ctx.captured.replay_backward(grad_states[0])
        return None, None, *(None if gradient is None else gradient.clone() for gradient in gradients)


_replay: Callable[..., torch.Tensor] = _Replay.apply


class CudaGraphs:
    """Captured passes through a model, each replayed for the batches that are rounded up to its length."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], passes: dict[int, CapturedPass]) -> None:
        self._parameters = parameters
        self._passes = passes

    def hidden_states(self, batch: Batch) -> torch.Tensor | None:
        """Return [1, tokens with padding, hidden_size], None if no pass of that length is captured."""
        captured = self._passes.get(captured_length(batch.input_ids.shape[1]))
        return None if captured is None else _replay(captured, batch, *self._parameters)


def captured_length(tokens: int) -> int:
    """Return the length of the pass that a batch of `tokens` tokens is padded to."""
    return rounded_up(tokens, LENGTHS)


def capture(
    hidden_states_of: HiddenStatesOf,
    parameters: Sequence[torch.nn.Parameter],
    lengths: Sequence[int],
    most_rows: int,
    longest: int,
    example: Batch,
) -> CudaGraphs:
    """Capture passes of `lengths`; compare the first with an eager pass at the same random numbers.

    The random state is as before afterwards. No autograd graph of an earlier pass may be alive: its leaves would be
    captured too.

    Args:
        hidden_states_of: an eager forward pass: [1, tokens, hidden_size] of a packed batch.
        parameters: the trained ones.
        lengths: `captured_length`s.
        most_rows: rows of the largest batch.
        longest: tokens of the longest row.
        example: a batch no longer than the longest of `lengths`.

    Raises:
        RuntimeError: the model cannot be captured, or its replay differs; torch raises others for whatever it does.
    """
    before, device = random_state(), example.input_ids.device
    passes: dict[int, CapturedPass] = {}
    try:
        for length in sorted(lengths, reverse=True):  # a shorter pass fits into the memory of a longer one
            static = static_batch(length, most_rows, longest, device)
            if passes:
                pool = next(iter(passes.values())).forward_graph.pool()
                passes[length] = _capture_pass(hidden_states_of, parameters, static, pool)
            else:
                passes[length] = _capture_checked(hidden_states_of, parameters, static, example)
    except Exception:
        replace_generator(device)
        raise
    finally:
        set_random_state(before)
    return CudaGraphs(parameters, passes)


def _capture_checked(
    hidden_states_of: HiddenStatesOf, parameters: Sequence[torch.nn.Parameter], static: Batch, example: Batch
) -> CapturedPass:
    copy_into(example, static)
    before = random_state()
    states, gradients = _eager_pass(hidden_states_of, parameters, static)
    captured = _capture_pass(hidden_states_of, parameters, static, None)
    set_random_state(before)
    error = relative_error([states], [captured.replay_forward(example)])
    error = max(error, relative_error(gradients, captured.replay_backward(states)))
    if not error <= TOLERANCE:
        raise RuntimeError(f"a replayed pass differs from an eager one by {error:.1%}")
    return captured


def _eager_pass(
    hidden_states_of: HiddenStatesOf, parameters: Sequence[torch.nn.Parameter], batch: Batch
) -> tuple[torch.Tensor, Gradients]:
    """Return the states, and the gradients by `parameters` if the gradient by the states is the states themselves.

    Raises:
        RuntimeError: the pass synchronises with the GPU, which no capture allows.
    """
    with no_synchronisation():
        states = hidden_states_of(batch)
        return states.detach(), torch.autograd.grad(states, parameters, states.detach(), allow_unused=True)


def _capture_pass(
    hidden_states_of: HiddenStatesOf, parameters: Sequence[torch.nn.Parameter], static: Batch, pool: Any
) -> CapturedPass:
    forward_graph, backward_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(torch.cuda.current_stream()):  # restores the current stream if the capture fails
            with torch.cuda.graph(forward_graph, pool, capture_error_mode="thread_local"):
                states = hidden_states_of(static)  # [1, tokens, hidden_size]
            gradient = torch.empty_like(states)
            with torch.cuda.graph(backward_graph, forward_graph.pool(), capture_error_mode="thread_local"):
                gradients = torch.autograd.grad(states, parameters, gradient, allow_unused=True)
    except Exception:
        _FAILED_CAPTURES.extend((forward_graph, backward_graph))
        raise
    return CapturedPass(static, forward_graph, states.detach(), gradient, backward_graph, gradients)


_FAILED_CAPTURES: list[torch.cuda.CUDAGraph] = []  # kept alive, as torch's allocator goes on calling them


def static_batch(length: int, most_rows: int, longest: int, device: torch.device) -> Batch:
    """Return a batch of `length` tokens that `copy_into` fills with batches of up to `most_rows` rows.

    None of those rows is longer than `longest` tokens.
    """
    tokens, positions = (torch.zeros(1, length, dtype=torch.int64, device=device) for _ in range(2))  # [1, length]
    starts = torch.full((most_rows + 2,), length, dtype=torch.int32, device=device)  # [most_rows + 2]
    logit_positions = targets = torch.empty(0, dtype=torch.int64, device=device)
    return Batch(tokens, positions, None, (), starts, max(longest, length // LENGTHS), logit_positions, targets)


def copy_into(batch: Batch, static: Batch) -> None:
    """Overwrite the rows of `static` with those of `batch`; the rest of its length becomes one row of padding."""
    assert batch.row_starts is not None and static.row_starts is not None
    tokens, starts = batch.input_ids.shape[1], len(batch.row_starts)
    static.input_ids[:, :tokens] = batch.input_ids
    static.position_ids[:, :tokens] = batch.position_ids
    static.row_starts[:starts] = batch.row_starts
    static.row_starts[starts:] = static.input_ids.shape[1]


def replace_generator(device: torch.device) -> None:
    """Continue from the same random state with a new generator, as one whose capture failed waits for its end."""
    if device.type == "cuda":
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        fresh = torch.Generator(device)
        fresh.set_state(generator.get_state())
        generator.graphsafe_set_state(fresh.graphsafe_get_state())


@contextmanager
def no_synchronisation() -> Iterator[None]:
    """Raise RuntimeError where the CPU would wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        _set_sync_debug_mode("error")
        yield
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings(action="ignore"):  # torch warns that the mode does not detect all synchronisation
        torch.cuda.set_sync_debug_mode(mode)


def relative_error(expected: Gradients, actual: Gradients) -> float:
    """Return |actual - expected| / |expected|, each one vector; infinite where only one of the two has a gradient."""
    if [one is None for one in expected] != [one is None for one in actual]:
        return math.inf
    ours, theirs = (
        torch.cat([one.flatten().float() for one in all_ if one is not None]) for all_ in (actual, expected)
    )
    return float((ours - theirs).norm() / theirs.norm())

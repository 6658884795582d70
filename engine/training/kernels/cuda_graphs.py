"""Training passes recorded as CUDA graphs, so that a GPU need not wait for the processor that calls its kernels.

A pass is thousands of calls, which can take a processor longer than a fast GPU takes for the work; a recorded one is
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

from engine.training.data.batching import Batch, rounded_up
from engine.training.runtime.device import random_state, set_random_state

LENGTHS = 8  # to the octave: recording one takes about as long as a pass by calls, and what rounds it up is computed
TOLERANCE = 0.02  # relative; kernels of the way back add up in no fixed order

HiddenStatesOf = Callable[[Batch], torch.Tensor]
Gradients = Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class CapturedPass:
    """One way there and back of so many tokens; what it reads and writes stays where it is in memory.

    Attributes:
        batch: what it reads. After the rows follows one of nothing, which makes up the length, then rows of no tokens.
        states: [1, tokens, hidden_size], what comes of it.
        gradient: what the way back begins with, shaped as `states`.
        gradients: of the parameters, None of one that `states` does not depend on.
    """

    batch: Batch
    there: torch.cuda.CUDAGraph
    states: torch.Tensor
    gradient: torch.Tensor
    back: torch.cuda.CUDAGraph
    gradients: Gradients

    def replay_forward(self, batch: Batch) -> torch.Tensor:
        """`states` of the tokens of `batch`, and of what makes up the length."""
        copy_into(batch, self.batch)
        self.there.replay()
        return self.states

    def replay_backward(self, gradient: torch.Tensor) -> Gradients:
        """`gradients`, which the next pass overwrites."""
        self.gradient.copy_(gradient)
        self.back.replay()
        return self.gradients


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recorded: CapturedPass, batch: Batch, *_: torch.Tensor) -> torch.Tensor:
        ctx.recorded = recorded
        return recorded.replay_forward(batch).detach()

    @staticmethod
    def backward(ctx: Any, *gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients = ctx.recorded.replay_backward(gradient[0])
        return None, None, *(None if of_one is None else of_one.clone() for of_one in gradients)


_replay: Callable[..., torch.Tensor] = _Replay.apply


class CudaGraphs:
    """Passes through a model that are replayed, each for the batches that are rounded up to its length."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], passes: dict[int, CapturedPass]) -> None:
        self._parameters = parameters
        self._passes = passes

    def hidden_states(self, batch: Batch) -> torch.Tensor | None:
        """[1, tokens or a few more, hidden_size]; None if no pass of that length is recorded."""
        recorded = self._passes.get(captured_length(batch.input_ids.shape[1]))
        return None if recorded is None else _replay(recorded, batch, *self._parameters)


def captured_length(tokens: int) -> int:
    """What so many are rounded up to."""
    return rounded_up(tokens, LENGTHS)


def capture(
    hidden_states_of: HiddenStatesOf,
    parameters: Sequence[torch.nn.Parameter],
    lengths: Sequence[int],
    most_rows: int,
    longest: int,
    example: Batch,
) -> CudaGraphs:
    """Passes of `lengths`; the first is compared with what its calls give at the same random numbers.

    No random number is drawn by it. No graph of an earlier pass may be left: its ends would be drawn into a recording.

    Args:
        hidden_states_of: a pass, call by call: [1, tokens, hidden_size] of a packed batch.
        parameters: what is trained.
        lengths: `captured_length`s.
        most_rows: rows of the largest batch there is.
        longest: tokens of the longest row there is.
        example: a batch no longer than the longest of `lengths`.

    Raises:
        RuntimeError: the model cannot be recorded, or not rightly; torch raises others for whatever it does.
    """
    before, device = random_state(), example.input_ids.device
    passes: dict[int, CapturedPass] = {}
    try:
        for length in sorted(lengths, reverse=True):  # a shorter pass fits into the memory of a longer one
            lasting = static_batch(length, most_rows, longest, device)
            if passes:
                passes[length] = _capture_pass(
                    hidden_states_of, parameters, lasting, next(iter(passes.values())).there.pool()
                )
            else:
                passes[length] = _checked(hidden_states_of, parameters, lasting, example)
    except Exception:
        replace_generator(device)
        raise
    finally:
        set_random_state(before)
    return CudaGraphs(parameters, passes)


def _checked(
    hidden_states_of: HiddenStatesOf, parameters: Sequence[torch.nn.Parameter], lasting: Batch, example: Batch
) -> CapturedPass:
    copy_into(example, lasting)
    before = random_state()
    states, gradients = _by_calls(hidden_states_of, parameters, lasting)
    recorded = _capture_pass(hidden_states_of, parameters, lasting, None)
    set_random_state(before)
    error = relative_error([states], [recorded.replay_forward(example)])
    error = max(error, relative_error(gradients, recorded.replay_backward(states)))
    if not error <= TOLERANCE:
        raise RuntimeError(f"they would be wrong by {error:.1%}")
    return recorded


def _by_calls(
    hidden_states_of: HiddenStatesOf, parameters: Sequence[torch.nn.Parameter], batch: Batch
) -> tuple[torch.Tensor, Gradients]:
    """The states, and the gradients to the states themselves.

    Raises:
        RuntimeError: the processor would wait for the GPU on the way, which would spoil a recording.
    """
    with no_synchronisation():
        states = hidden_states_of(batch)
        return states.detach(), torch.autograd.grad(states, parameters, states.detach(), allow_unused=True)


def _capture_pass(
    hidden_states_of: HiddenStatesOf, parameters: Sequence[torch.nn.Parameter], lasting: Batch, pool: Any
) -> CapturedPass:
    there, back = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(torch.cuda.current_stream()):  # to come back to if the recording breaks off
            with torch.cuda.graph(there, pool, capture_error_mode="thread_local"):
                states = hidden_states_of(lasting)
            gradient = torch.empty_like(states)
            with torch.cuda.graph(back, there.pool(), capture_error_mode="thread_local"):
                gradients = torch.autograd.grad(states, parameters, gradient, allow_unused=True)
    except Exception:
        _BROKEN_OFF.extend((there, back))
        raise
    return CapturedPass(lasting, there, states.detach(), gradient, back, gradients)


_BROKEN_OFF: list[torch.cuda.CUDAGraph] = []  # torch's allocator goes on asking them


def static_batch(length: int, most_rows: int, longest: int, device: torch.device) -> Batch:
    """A batch of `length` tokens in which others of up to `most_rows` rows of up to `longest` can be put in place."""
    tokens, positions = (torch.zeros(1, length, dtype=torch.int64, device=device) for _ in range(2))
    starts = torch.full((most_rows + 2,), length, dtype=torch.int32, device=device)
    predicts = targets = torch.empty(0, dtype=torch.int64, device=device)
    return Batch(tokens, positions, None, (), starts, max(longest, length // LENGTHS), predicts, targets)


def copy_into(batch: Batch, lasting: Batch) -> None:
    """Write the rows of `batch` over what `lasting` has: what is left of its length becomes a row of nothing."""
    assert batch.row_starts is not None and lasting.row_starts is not None
    tokens, starts = batch.input_ids.shape[1], len(batch.row_starts)
    lasting.input_ids[:, :tokens] = batch.input_ids
    lasting.position_ids[:, :tokens] = batch.position_ids
    lasting.row_starts[:starts] = batch.row_starts
    lasting.row_starts[starts:] = lasting.input_ids.shape[1]


def replace_generator(device: torch.device) -> None:
    """Draw on from the same state by another generator: one whose recording broke off waits for the end of that."""
    if device.type == "cuda":
        spoilt = torch.cuda.default_generators[torch.cuda.current_device()]
        fresh = torch.Generator(device)
        fresh.set_state(spoilt.get_state())
        spoilt.graphsafe_set_state(fresh.graphsafe_get_state())


@contextmanager
def no_synchronisation() -> Iterator[None]:
    """Raise RuntimeError where the processor would wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        _set_sync_debug_mode("error")
        yield
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings(action="ignore"):  # that it does not find all there is
        torch.cuda.set_sync_debug_mode(mode)


def relative_error(wanted: Gradients, found: Gradients) -> float:
    """How far `found` is from `wanted`, all taken as one vector; infinite where only one of the two has something."""
    if [one is None for one in wanted] != [one is None for one in found]:
        return math.inf
    ours, theirs = (torch.cat([one.flatten().float() for one in all_ if one is not None]) for all_ in (found, wanted))
    return float((ours - theirs).norm() / theirs.norm())

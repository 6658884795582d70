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

from engine.training.batches import Batch, rounded_up
from engine.training.device import random_state, set_random_state
from engine.training.hub import first_line

LENGTHS = 8  # to the octave: recording one takes about as long as a pass by calls, and what rounds it up is computed
TOLERANCE = 0.02  # relative; kernels of the way back add up in no fixed order

Gradients = Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class RecordedPass:
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

    def there_with(self, batch: Batch) -> torch.Tensor:
        """`states` of the tokens of `batch`, and of what makes up the length."""
        put_in_place(batch, self.batch)
        self.there.replay()
        return self.states

    def back_with(self, gradient: torch.Tensor) -> Gradients:
        """`gradients`, which the next pass overwrites."""
        self.gradient.copy_(gradient)
        self.back.replay()
        return self.gradients


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recorded: RecordedPass, batch: Batch, *_: torch.Tensor) -> torch.Tensor:
        ctx.recorded = recorded
        return recorded.there_with(batch).detach()

    @staticmethod
    def backward(ctx: Any, *gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients = ctx.recorded.back_with(gradient[0])
        return None, None, *(None if of_one is None else of_one.clone() for of_one in gradients)


_replay: Callable[..., torch.Tensor] = _Replay.apply


class Recordings:
    """Passes through a model, by their length, each recorded when that length comes for the second time.

    The first is compared with what the calls themselves give at the same random numbers: a model whose passes cannot
    be recorded, or not rightly, is never recorded again.
    """

    def __init__(
        self,
        states_of: Callable[[Batch], torch.Tensor],
        parameters: Sequence[torch.nn.Parameter],
        longest: int,
        most_rows: int,
        say: Callable[[str], None],
    ) -> None:
        """
        Args:
            states_of: the pass, call by call: [1, tokens, hidden_size] of a packed batch.
            parameters: what is trained.
            longest: tokens of the longest row there is.
            most_rows: rows of the largest batch there is.
            say: told whether passes are recorded, once that is known.
        """
        self._states_of = states_of
        self._parameters = parameters
        self._longest = longest
        self._most_rows = most_rows
        self._say = say
        self._seen: set[int] = set()
        self._passes: dict[int, RecordedPass] = {}
        self._unfinished: tuple[torch.cuda.CUDAGraph, ...] = ()  # torch's allocator still asks one that broke off
        self._is_checked = self._is_over = False

    def states(self, batch: Batch) -> torch.Tensor | None:
        """[1, tokens or a few more, hidden_size]; None if this pass is to be taken call by call."""
        recorded = None if self._is_over else self._pass_for(batch)
        return None if recorded is None else _replay(recorded, batch, *self._parameters)

    def end(self) -> None:
        """Give the memory back, and record nothing any more."""
        self._is_over = True
        self._forget()

    def _forget(self) -> None:
        self._passes.clear()
        torch.cuda.empty_cache()

    def _pass_for(self, batch: Batch) -> RecordedPass | None:
        length = rounded_up(batch.input_ids.shape[1], LENGTHS)
        if length not in self._passes and length in self._seen:
            if length > max(self._passes, default=length):
                self._forget()  # a shorter pass fits into the memory of a longer one, but not the reverse
            try:
                self._passes[length] = self._record(batch, length)
            except Exception as error:  # whatever a model does that cannot be recorded, or for lack of memory
                self._say(f"passes are not recorded as CUDA graphs: {first_line(error)}")
                self.end()
                renew_generator(batch.input_ids.device)
        self._seen.add(length)
        return self._passes.get(length)

    def _record(self, batch: Batch, length: int) -> RecordedPass:
        lasting = lasting_batch(length, self._most_rows, self._longest, batch.input_ids.device)
        if self._is_checked:
            return self._captured(lasting)
        before = random_state()
        try:
            put_in_place(batch, lasting)
            states, gradients = self._by_calls(lasting)
            recorded = self._captured(lasting)
            set_random_state(before)
            error = relative_error([states], [recorded.there_with(batch)])
            error = max(error, relative_error(gradients, recorded.back_with(states)))
        finally:
            set_random_state(before)
        if not error <= TOLERANCE:
            raise RuntimeError(f"they would be wrong by {error:.1%}")
        self._is_checked = True
        self._say("passes whose length comes again are recorded as CUDA graphs")
        return recorded

    def _by_calls(self, batch: Batch) -> tuple[torch.Tensor, Gradients]:
        """The states, and the gradients to the states themselves.

        Raises:
            RuntimeError: the processor would wait for the GPU on the way, which would spoil a recording.
        """
        with no_synchronisation():
            states = self._states_of(batch)
            return states.detach(), torch.autograd.grad(states, self._parameters, states.detach(), allow_unused=True)

    def _captured(self, lasting: Batch) -> RecordedPass:
        there, back = self._unfinished = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        shared = next((recorded.there.pool() for recorded in self._passes.values()), None)
        with torch.cuda.stream(torch.cuda.current_stream()):  # to come back to if the recording breaks off
            with torch.cuda.graph(there, shared, capture_error_mode="thread_local"):
                states = self._states_of(lasting)
            gradient = torch.empty_like(states)
            with torch.cuda.graph(back, there.pool(), capture_error_mode="thread_local"):
                gradients = torch.autograd.grad(states, self._parameters, gradient, allow_unused=True)
        self._unfinished = ()
        return RecordedPass(lasting, there, states.detach(), gradient, back, gradients)


def lasting_batch(length: int, most_rows: int, longest: int, device: torch.device) -> Batch:
    """A batch of `length` tokens in which others of up to `most_rows` rows of up to `longest` can be put in place."""
    tokens, positions = (torch.zeros(1, length, dtype=torch.int64, device=device) for _ in range(2))
    starts = torch.full((most_rows + 2,), length, dtype=torch.int32, device=device)
    predicts = targets = torch.empty(0, dtype=torch.int64, device=device)
    return Batch(tokens, positions, None, (), starts, max(longest, length // LENGTHS), predicts, targets)


def put_in_place(batch: Batch, lasting: Batch) -> None:
    """Write the rows of `batch` over what `lasting` has: what is left of its length becomes a row of nothing."""
    assert batch.row_starts is not None and lasting.row_starts is not None
    tokens, starts = batch.input_ids.shape[1], len(batch.row_starts)
    lasting.input_ids[:, :tokens] = batch.input_ids
    lasting.position_ids[:, :tokens] = batch.position_ids
    lasting.row_starts[:starts] = batch.row_starts
    lasting.row_starts[starts:] = lasting.input_ids.shape[1]


def renew_generator(device: torch.device) -> None:
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

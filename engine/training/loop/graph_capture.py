"""Which passes of a round are recorded, to be replayed by its steps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from engine.training.data.tokenize import Example
from engine.training.kernels.cuda_graphs import capture, captured_length
from engine.training.kernels.packed_attention import has_varlen_kernel
from engine.training.loop.state import Training
from engine.training.loop.step import examples_of, micro_batches
from engine.training.model.adapter import trainable_parameters
from engine.training.model.memory_budget import fits_twice
from engine.training.runtime.hub_errors import first_line

STEPS = 64  # that are looked at for their lengths
PAYS = 5  # times that a length must come: recording it takes as long as two or three of what it saves


def capture_graphs(training: Training) -> None:
    """Have the steps to come replay their passes, as far as they can be recorded and that pays."""
    found = common_lengths(training) if _can_be_captured(training) else {}
    if not found:
        return
    forward = training.forward
    try:
        passes = capture(
            forward.hidden_states,
            trainable_parameters(training.model),
            list(found),
            training.plan.effective_batch,
            max(map(len, training.train)),
            forward.batch(found[max(found)]),
        )
    except Exception as error:  # whatever a model does that cannot be recorded, or for lack of memory
        training.recorder.log(f"passes are not recorded as CUDA graphs: {first_line(error)}")
        return
    lengths = ", ".join(f"{length:,}" for length in found)
    training.recorder.log(f"passes of {lengths} tokens are recorded as CUDA graphs")
    training.forward = replace(forward, graphs=passes)


def common_lengths(training: Training) -> dict[int, list[Example]]:
    """The lengths that micro-batches of the steps to come are rounded up to, if not seldom, with the rows of one."""
    first, total = training.progress.step + 1, training.plan.total_steps or 0
    looked_at = range(first, min(first + STEPS, total + 1))
    found: dict[int, list[list[Example]]] = defaultdict(list)
    for step in looked_at:
        for rows in micro_batches(training, examples_of(training, step)):
            found[captured_length(sum(map(len, rows)))].append(rows)
    left = total + 1 - first
    return {length: those[0] for length, those in sorted(found.items()) if len(those) * left >= PAYS * len(looked_at)}


def _can_be_captured(training: Training) -> bool:
    """Whether a pass can be a CUDA graph: all of it in kernels, and its memory not missed by what is not recorded.

    Recomputing activations asks for the state of the random numbers, which no graph has; a compiled model is called
    seldom enough as it is.
    """
    forward, budget = training.forward, training.budget
    if not (forward.packed and forward.fused_head) or budget.gradient_checkpointing:
        return False
    if training.spec.train.torch_compile or not has_varlen_kernel(forward.device, forward.dtype):
        return False
    return fits_twice(budget, forward)

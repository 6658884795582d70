"""The choice of passes of a round that are captured as CUDA graphs."""

from __future__ import annotations

from collections import defaultdict

from engine.training.data.tokenize import Example
from engine.training.kernels.cuda_graphs import capture, captured_length
from engine.training.kernels.packed_attention import has_varlen_kernel
from engine.training.loop.state import Training
from engine.training.loop.step import examples_of, micro_batches
from engine.training.model.adapter import trainable_parameters
from engine.training.model.memory_budget import fits_twice
from engine.training.runtime.hub_errors import first_line

STEPS = 64  # examined for the lengths of their micro-batches
MIN_USES = 5  # of a captured length in a round: a capture takes as long as two or three replays save


def capture_graphs(training: Training) -> None:
    """Capture the common passes of the steps to come as CUDA graphs, where that works and pays."""
    common = common_lengths(training) if _can_be_captured(training) else {}
    if not common:
        return
    forward = training.forward
    try:
        graphs = capture(
            forward.hidden_states,
            trainable_parameters(training.model),
            list(common),
            training.plan.effective_batch,
            max(map(len, training.train)),
            forward.batch(common[max(common)]),
        )
    except Exception as error:  # whatever a model does that no graph can hold, or too little memory
        training.recorder.log(f"no CUDA graphs are used, as a pass cannot be captured: {first_line(error)}")
        return
    lengths = ", ".join(f"{length:,}" for length in common)
    training.recorder.log(f"CUDA graphs are captured for passes of {lengths} tokens")
    forward.graphs = graphs


def common_lengths(training: Training) -> dict[int, list[Example]]:
    """Return the padded lengths that micro-batches of the steps to come often have, each with the rows of one."""
    first, total = training.progress.step + 1, training.plan.total_steps or 0
    examined = range(first, min(first + STEPS, total + 1))
    micro_batches_by_length: dict[int, list[list[Example]]] = defaultdict(list)
    for step in examined:
        for rows in micro_batches(training, examples_of(training, step)):
            micro_batches_by_length[captured_length(sum(map(len, rows)))].append(rows)
    steps_to_come = total + 1 - first
    return {
        length: alike[0]
        for length, alike in sorted(micro_batches_by_length.items())
        if len(alike) * steps_to_come >= MIN_USES * len(examined)
    }


def _can_be_captured(training: Training) -> bool:
    """Return whether passes run in kernels alone, and there is memory for what is not captured beside them.

    Recomputing activations reads the random state, which no graph allows; a compiled model has few calls anyway.
    """
    forward, budget = training.forward, training.budget
    if not (forward.packed and forward.fused_head) or budget.gradient_checkpointing or forward.rope_switch is not None:
        return False
    if training.spec.train.torch_compile or not has_varlen_kernel(forward.device, forward.dtype):
        return False
    return fits_twice(budget, forward)

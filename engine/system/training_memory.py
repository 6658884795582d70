"""Define how much memory a training pass may use, for the engine that measures it and for a plan that estimates it."""

from __future__ import annotations

import math

CPU_SHARE, GPU_SHARE = 0.5, 0.9  # of the free memory; a CPU's is shared with all other processes
CPU_TOKENS = 8192  # a longer pass is not faster per token
# A CPU's passes of more than a few tokens use no more: a virtual machine may take seconds for each GiB that it hands
# out first, and passes of a quarter of the tokens took 4 to 11 % more of the processor's time.
CPU_BYTES, FEW_TOKENS = 2 * 2**30, 2048
FRAGMENTATION = 1.15  # resident over allocated bytes on a CPU, as large tensors begin at pages of 2 MiB
LENGTHS_PER_OCTAVE = 16  # of the numbers of tokens to which a CPU's passes are rounded up
LATER_BYTES = 128 * 2**20  # of a process after its first passes: what it imports to save, buffers of its threads
# Of logits in float32 that are held at once: what a CPU's cache holds, what fills a GPU.
LOGIT_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}
ATTENDED_WIDTH = 1024  # the widest head that a CPU computes faster as attention: at 2048 it takes 1.8 times as long
# Of each trained parameter: AdamW's two moments in float32, allocated by the first step; its gradient.
OPTIMIZER_BYTES, GRADIENT_BYTES = 8, 4


def tokens_at_once(whole_step: int, in_room: int, in_usual_bytes: int) -> int:
    """Return the most tokens that a pass on a CPU has, a single longer row aside.

    Args:
        whole_step: tokens of a step.
        in_room: tokens for which the room suffices.
        in_usual_bytes: tokens for which `CPU_BYTES` suffice.
    """
    return min(whole_step, CPU_TOKENS, in_room, max(FEW_TOKENS, in_usual_bytes))


def rounded_up(tokens: int, per_octave: int) -> int:
    """Round `tokens` up to a length; each octave has `per_octave` of them, a power of two, at even distances."""
    distance = 2 ** max(0, int(math.log2(tokens)) - int(math.log2(per_octave)))
    return int(-(-tokens // distance) * distance)

"""Floating-point operations as torch's `FlopCounterMode` counts them: two for each multiplication and addition."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

Shape = tuple[int, ...]
aten = torch.ops.aten

# torch's counter knows attention's kernels on CUDA and leaves out the CPU's, which is counted here as those are:
# whether causal or not, and with the scores computed again on the way back. Keys may have fewer heads than queries.


@register_flop_formula(aten._scaled_dot_product_flash_attention_for_cpu)
def _attention(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    rows, heads, tokens, width = query
    return 2 * rows * heads * tokens * key[-2] * (width + value[-1])


@register_flop_formula(aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _attention_backward(grad: Shape, query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    rows, heads, tokens, width = query
    return 2 * rows * heads * tokens * key[-2] * (3 * width + 2 * value[-1])


counter = FlopCounterMode(display=False)


def counted() -> int:
    """Operations so far within `with counter:`, 0 in a process that counts none."""
    return counter.get_total_flops()

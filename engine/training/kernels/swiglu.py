"""SwiGLU's gate in one kernel there and one back (N. Shazeer, GLU Variants Improve Transformer, arXiv 2002.05202)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 2e-2}  # relative; models round once more
LAYERS = ("gate_proj", "up_proj", "down_proj", "act_fn")  # as transformers' models call them

GATED = """
template <typename T> T gated(T gate, T up) {
    float x = static_cast<float>(gate);
    return static_cast<T>(x / (1.0f + expf(-x)) * static_cast<float>(up));
}
"""
GRADIENTS = """
template <typename T> void gradients(T gate, T up, T gradient, T& of_gate, T& of_up) {
    float x = static_cast<float>(gate), g = static_cast<float>(gradient);
    float sigmoid = 1.0f / (1.0f + expf(-x));
    of_gate = static_cast<T>(g * static_cast<float>(up) * sigmoid * (1.0f + x * (1.0f - sigmoid)));
    of_up = static_cast<T>(g * x * sigmoid);
}
"""


def fuse_swiglu(model: torch.nn.Module) -> int:
    """Have those feed-forward layers of `model` on a GPU gate in one kernel that give its numbers; how many they are.

    Written out, the gate takes its activations, which are the widest of all, through memory five times and back nine.
    """
    fused = 0
    for module in model.modules():
        if all(hasattr(module, name) for name in LAYERS) and (gated := _fused(module)) is not None:
            module.forward = gated
            fused += 1
    return fused


def _fused(module: Any) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What may take the place of `module.forward`; None if it gives other numbers."""
    gated = partial(_feed_forward, module, module.forward)
    try:
        weight = next(module.parameters())
        width, dtype = module.gate_proj.in_features, weight.dtype if weight.dtype in TOLERANCE else torch.bfloat16
        hidden = torch.randn(2, width, generator=torch.Generator().manual_seed(0)).to(weight.device, dtype)
        with torch.no_grad():
            wanted, found = module.forward(hidden).float(), gated(hidden).float()
    except Exception:  # layers that are called in another way, or a GPU without a compiler
        return None
    return gated if bool((found - wanted).norm() < TOLERANCE[dtype] * wanted.norm()) else None


def _feed_forward(
    module: Any, written_out: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor
) -> torch.Tensor:
    """`hidden` [..., hidden_size] through `module`."""
    if torch.compiler.is_compiling():
        return written_out(hidden)
    down: torch.Tensor = module.down_proj(_gate(module.gate_proj(hidden), module.up_proj(hidden)))
    return down


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return _kernels()[0](gate, up)

    @staticmethod
    def backward(ctx: Any, *gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        of_gate, of_up = _kernels()[1](*ctx.saved_tensors, gradient[0])
        return of_gate, of_up


_gate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _Gate.apply


@cache
def _kernels() -> tuple[Callable[..., torch.Tensor], Callable[..., tuple[torch.Tensor, torch.Tensor]]]:
    """silu(gate) * up, and the gradients of the two; torch compiles them when they are first called."""
    jiterator = torch.cuda.jiterator
    return jiterator._create_jit_fn(GATED), jiterator._create_multi_output_jit_fn(GRADIENTS, num_outputs=2)

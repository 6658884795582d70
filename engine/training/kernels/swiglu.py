"""SwiGLU in one fused kernel each way (N. Shazeer, GLU Variants Improve Transformer, arXiv 2002.05202)."""

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
template <typename T> void gradients(T gate, T up, T gradient, T& grad_gate, T& grad_up) {
    float x = static_cast<float>(gate), g = static_cast<float>(gradient);
    float sigmoid = 1.0f / (1.0f + expf(-x));
    grad_gate = static_cast<T>(g * static_cast<float>(up) * sigmoid * (1.0f + x * (1.0f - sigmoid)));
    grad_up = static_cast<T>(g * x * sigmoid);
}
"""


def fuse_swiglu(model: torch.nn.Module) -> int:
    """Compute the gate of the feed-forward layers of `model` in one kernel on a GPU; return how many are replaced.

    A layer is replaced if the result is the same. In separate steps the gate takes its activations, the widest of all,
    through memory five times forward and nine times backward.
    """
    fused = 0
    for module in model.modules():
        if all(hasattr(module, name) for name in LAYERS) and (feed_forward := _fused(module)) is not None:
            module.forward = feed_forward
            fused += 1
    return fused


def _fused(module: Any) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return a replacement for `module.forward`, None if its results would differ."""
    feed_forward = partial(_feed_forward, module, module.forward)
    try:
        weight = next(module.parameters())
        width, dtype = module.gate_proj.in_features, weight.dtype if weight.dtype in TOLERANCE else torch.bfloat16
        # [2, hidden_size]
        hidden = torch.randn(2, width, generator=torch.Generator().manual_seed(0)).to(weight.device, dtype)
        with torch.no_grad():
            expected, actual = module.forward(hidden).float(), feed_forward(hidden).float()
    except Exception:  # layers that are called in another way, or a GPU without a compiler
        return None
    return feed_forward if bool((actual - expected).norm() < TOLERANCE[dtype] * expected.norm()) else None


def _feed_forward(module: Any, original: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    """Return `module(hidden)`, [..., hidden_size] of the same."""
    if torch.compiler.is_compiling():
        return original(hidden)
    output: torch.Tensor = module.down_proj(_swiglu(module.gate_proj(hidden), module.up_proj(hidden)))
    return output


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)  # [..., intermediate_size] each
        return _kernels()[0](gate, up)

    @staticmethod
    def backward(ctx: Any, *grad_output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grad_gate, grad_up = _kernels()[1](*ctx.saved_tensors, grad_output[0])  # [..., intermediate_size] each
        return grad_gate, grad_up


_swiglu: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _SwiGlu.apply


@cache
def _kernels() -> tuple[Callable[..., torch.Tensor], Callable[..., tuple[torch.Tensor, torch.Tensor]]]:
    """Return the kernels of silu(gate) * up and of its two gradients; torch compiles each at its first call."""
    jiterator = torch.cuda.jiterator
    return jiterator._create_jit_fn(GATED), jiterator._create_multi_output_jit_fn(GRADIENTS, num_outputs=2)

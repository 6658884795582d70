"""SwiGLU with less memory (N. Shazeer, GLU Variants Improve Transformer, arXiv 2002.05202)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache, partial
from typing import Any

import torch
from torch.nn import functional

from engine.training.kernels.replacement import ModuleSite

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


def swiglu_sites(model: torch.nn.Module) -> list[SwiGluSite]:
    """Return the feed-forward layers of `model` whose gate may be computed in one kernel on a GPU.

    In separate steps it takes its activations, the widest of all, through memory five times forward and nine times
    backward, and keeps the activated gate, which is computed again here.
    """
    modules = [module for module in model.modules() if all(hasattr(module, name) for name in LAYERS)]
    return [SwiGluSite(module) for module in modules if type(module.act_fn).__name__.startswith("SiLU")]


class SwiGluSite(ModuleSite):
    """A feed-forward layer; those of one class and size are alike."""

    tolerance = 1e-4

    def __init__(self, module: Any) -> None:
        super().__init__("feed-forward layers", module, lambda own: partial(_feed_forward, module, own))

    @property
    def alike(self) -> Hashable:
        layers = (getattr(self.module, name) for name in LAYERS)
        sizes = tuple((type(layer), getattr(layer, "in_features", 0)) for layer in layers)
        return (type(self.module), sizes, next(self.module.parameters()).dtype)


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
        return _kernels(gate.device.type)[0](gate, up)

    @staticmethod
    def backward(ctx: Any, *grad_output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate, grad_up = _kernels(gate.device.type)[1](gate, up, grad_output[0])  # [..., intermediate_size] each
        return grad_gate, grad_up


_swiglu: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _SwiGlu.apply


@cache
def _kernels(device_type: str) -> tuple[Callable[..., torch.Tensor], Callable[..., tuple[torch.Tensor, torch.Tensor]]]:
    """Return what computes silu(gate) * up and its two gradients; for a GPU torch compiles each at its first call."""
    if device_type == "cpu":
        return _gated, _gradients
    jiterator = torch.cuda.jiterator
    return jiterator._create_jit_fn(GATED), jiterator._create_multi_output_jit_fn(GRADIENTS, num_outputs=2)


def _gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return functional.silu(gate).mul_(up)


def _gradients(gate: torch.Tensor, up: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ops.aten.silu_backward(gradient * up, gate), functional.silu(gate).mul_(gradient)

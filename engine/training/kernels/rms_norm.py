"""RMS norms in fewer passes (B. Zhang and R. Sennrich, Root Mean Square Layer Normalization, arXiv 1910.07467)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}  # relative; models round once more
SIZES = (1.0, 1e-3)  # of the activations; at the smaller one the epsilon weighs as much as their squares


def fuse_norms(model: torch.nn.Module) -> int:
    """Compute the RMS norms of `model` by torch's fused kernel, on a CPU by our own; return how many are replaced.

    A norm is replaced if the result is the same. Models compute it in steps, each of which takes all activations
    through memory and, in float32, saves them for backward. Norms that scale in another way, such as Gemma's, are left
    alone.
    """
    fused = 0
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and (norm := _fused(module)) is not None:
            module.forward = norm
            fused += 1
    return fused


def _fused(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return a replacement for `module.forward`, None if its results would differ."""
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, torch.Tensor) or weight.dtype not in TOLERANCE or not isinstance(epsilon, float):
        return None
    if getattr(module, "bias", None) is not None:  # it may be zero now, and be trained
        return None
    norm = partial(_norm, module.forward, weight, epsilon)
    generator = torch.Generator().manual_seed(0)
    # [2, width]
    rows = torch.stack([size * torch.randn(weight.shape[-1], generator=generator) for size in SIZES]).to(weight)
    try:
        with torch.no_grad():
            expected, actual = module.forward(rows).float(), norm(rows).float()
    except Exception:  # a norm that is called in another way
        return None
    error = (actual - expected).norm(dim=-1) / expected.norm(dim=-1)  # [2]
    return norm if expected.shape == rows.shape and bool((error < TOLERANCE[weight.dtype]).all()) else None


def _norm(
    original: Callable[[torch.Tensor], torch.Tensor], weight: torch.Tensor, epsilon: float, hidden: torch.Tensor
) -> torch.Tensor:
    """Normalize `hidden` [..., width], by the model's `original` where weight and activations differ in precision."""
    if hidden.dtype != weight.dtype:
        return original(hidden)
    if hidden.device.type == "cpu" and not weight.requires_grad and not torch.compiler.is_compiling():
        return _frozen_norm(hidden, weight, epsilon)
    return functional.rms_norm(hidden, weight.shape, weight, epsilon).to(hidden.dtype)


class _FrozenNorm(torch.autograd.Function):
    """RMS norm with a frozen weight on a CPU, where torch has no fused kernel.

    With r = 1 / sqrt(mean(x^2) + epsilon) and g the gradient by x * r, the gradient by x is
    r * g - x * r^3 * mean(g * x).
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        wide = hidden.to(torch.float32, copy=True)  # [..., width]
        squares = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()  # [..., 1]
        inverse = squares.div_(weight.shape[-1]).add_(epsilon).rsqrt_()  # [..., 1]
        ctx.save_for_backward(hidden, weight, inverse)
        return weight * wide.mul_(inverse).to(hidden.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_output: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        hidden, weight, inverse = ctx.saved_tensors
        wide, grad_normed = hidden.to(torch.float32, copy=True), (grad_output[0] * weight).float()  # [..., width]
        along = torch.linalg.vecdot(grad_normed, wide)[..., None].div_(weight.shape[-1]).mul_(inverse**3)  # [..., 1]
        return grad_normed.mul_(inverse).sub_(wide.mul_(along)).to(hidden.dtype), None, None


_frozen_norm: Callable[..., torch.Tensor] = _FrozenNorm.apply

"""RMS norms in fewer passes (B. Zhang and R. Sennrich, Root Mean Square Layer Normalization, arXiv 1910.07467)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from engine.training.kernels.replacement import Call, Function, ModuleSite

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SMALL = 1e-3  # activations of this size are tried too, as the epsilon weighs as much as their squares


def norm_sites(model: torch.nn.Module) -> list[ModuleSite]:
    """Return the RMS norms of `model`, which may be computed by torch's fused kernel, on a CPU by our own.

    Models compute them in steps, each of which takes all activations through memory and, in float32, saves them for
    backward. Those that scale in another way, such as Gemma's, give other results.
    """
    modules = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    return [NormSite(module) for module in modules if _has_weight_and_epsilon(module)]


def _has_weight_and_epsilon(module: torch.nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    if getattr(module, "bias", None) is not None:  # it may be zero now, and be trained
        return False
    return isinstance(weight, torch.Tensor) and weight.dtype in DTYPES and isinstance(_epsilon(module), float)


def _epsilon(module: Any) -> Any:
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


class NormSite(ModuleSite):
    """An RMS norm, tried with smaller activations too."""

    def __init__(self, module: Any) -> None:
        def replace(own: Function) -> Function:
            return partial(_norm, own, module.weight, _epsilon(module))

        super().__init__("RMS norms", module, replace)

    def variants(self, call: Call) -> list[Call]:
        hidden, *others = call.positional
        return [call, Call((hidden * SMALL, *others), call.named)]


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

"""RMS norms in one kernel (B. Zhang and R. Sennrich, Root Mean Square Layer Normalization, arXiv 1910.07467)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}  # relative; models round once more
SIZES = (1.0, 1e-3)  # at the smaller one the epsilon weighs as much as what is normed


def fuse_norms(model: torch.nn.Module) -> int:
    """Have torch's own kernel compute those RMS norms of `model` that give its numbers; how many they are.

    Models write them out in steps, each of which takes all activations through the memory of a GPU and, in float32,
    keeps them for the way back. Norms that scale in another way, as Gemma's do, are left alone.
    """
    fused = 0
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and (norm := _fused(module)) is not None:
            module.forward = norm
            fused += 1
    return fused


def _fused(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What may take the place of `module.forward`; None if it gives other numbers."""
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, torch.Tensor) or weight.dtype not in TOLERANCE or not isinstance(epsilon, float):
        return None
    if getattr(module, "bias", None) is not None:  # which may be nothing now, and be trained
        return None
    norm = partial(_norm, module.forward, weight, epsilon)
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([size * torch.randn(weight.shape[-1], generator=generator) for size in SIZES]).to(weight)
    try:
        with torch.no_grad():
            wanted, found = module.forward(rows).float(), norm(rows).float()
    except Exception:  # a norm that is called in another way
        return None
    error = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    return norm if wanted.shape == rows.shape and bool((error < TOLERANCE[weight.dtype]).all()) else None


def _norm(
    written_out: Callable[[torch.Tensor], torch.Tensor], weight: torch.Tensor, epsilon: float, hidden: torch.Tensor
) -> torch.Tensor:
    """`hidden` [..., width] normed; by the model's own steps where weight and activations are of two precisions."""
    if hidden.dtype != weight.dtype:
        return written_out(hidden)
    return functional.rms_norm(hidden, weight.shape, weight, epsilon).to(hidden.dtype)

"""A linear layer with its LoRA adapter as one function, for a CPU (E. J. Hu et al., LoRA, arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.nn import functional

from engine.training.kernels.dropout import FastDropout


def fuse_lora(model: torch.nn.Module) -> int:
    """Have the plain LoRA layers of `model` learn in fewer passes through memory on a CPU; how many they are.

    Step by step the scales of LoRA and dropout, the sum of both branches and that of their gradients each take all
    activations through memory once more. Variants such as DoRA are left alone.
    """
    fused = 0
    for module in model.modules():
        if type(module) is Linear and _is_plain(module):
            module.forward = partial(_forward, module, module.forward)
            fused += 1
    return fused


def _is_plain(module: Any) -> bool:
    layers = [module.get_base_layer(), *module.lora_A.values(), *module.lora_B.values()]
    return (
        len(layers) == 3
        and all(type(layer) is torch.nn.Linear for layer in layers)
        and layers[1].bias is None
        and layers[2].bias is None
        and not module.lora_variant
    )


def _forward(
    module: Any, written_out: Callable[..., torch.Tensor], hidden: torch.Tensor, *others: Any, **options: Any
) -> torch.Tensor:
    """`hidden` [..., in_features] through `module`; by peft's own steps wherever it does anything but learn."""
    (name,) = module.lora_A.keys()
    dropout = module.lora_dropout[name]
    drops = isinstance(dropout, FastDropout) and dropout.applies_to(hidden)
    if others or options or not _learns(module, hidden) or not (drops or type(dropout) is torch.nn.Identity):
        return written_out(hidden, *others, **options)
    keeps, scale = dropout.draw(hidden) if drops else (None, 1.0)
    base, down, up = module.get_base_layer(), module.lora_A[name].weight, module.lora_B[name].weight
    return _learn(hidden, keeps, base.weight, base.bias, down, up, scale * module.scaling[name])


def _learns(module: Any, hidden: torch.Tensor) -> bool:
    """Whether the adapter of `module`, and nothing else of it, learns from `hidden` in one precision on a CPU."""
    if hidden.device.type != "cpu" or not module.training or not torch.is_grad_enabled():
        return False
    if module.disable_adapters or module.merged or torch.compiler.is_compiling():
        return False
    base = module.get_base_layer()
    autocast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
    frozen = not any(parameter.requires_grad for parameter in base.parameters())
    return frozen and hidden.dtype == base.weight.dtype == autocast


class _Learning(torch.autograd.Function):
    """y = x W^T + b + s ((keeps * x) A^T) B^T, and the gradients by x, A and B.

    Args:
        hidden: x [..., in_features].
        keeps: noughts and ones of the same shape and dtype; None keeps all.
        weight, bias: W [out_features, in_features] and b [out_features] or None, which are frozen.
        down, up: A [r, in_features] and B [out_features, r].
        scale: s.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, keeps: torch.Tensor | None, weight: torch.Tensor, bias: torch.Tensor | None,
        down: torch.Tensor, up: torch.Tensor, scale: float,
    ) -> torch.Tensor:  # fmt: skip
        a, b = down.to(hidden.dtype), up.to(hidden.dtype)
        kept = (hidden if keeps is None else hidden * keeps).flatten(0, -2)
        inner = kept @ a.t()
        result = functional.linear(hidden, weight, bias)
        flat = result.view(-1, result.shape[-1])
        torch.addmm(flat, inner, b.t(), alpha=scale, out=flat)  # not addmm_, which torch's counter of FLOPs passes over
        ctx.save_for_backward(keeps, kept, inner, weight, a, b)
        ctx.scale, ctx.dtypes = scale, (down.dtype, up.dtype)
        return result

    @staticmethod
    def backward(ctx: Any, *gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        keeps, kept, inner, weight, a, b = ctx.saved_tensors
        by_result = gradient[0].flatten(0, -2)
        by_up = (by_result.t() @ inner).to(ctx.dtypes[1]).mul_(ctx.scale)
        by_inner = (by_result @ b).mul_(ctx.scale)
        by_down = (by_inner.t() @ kept).to(ctx.dtypes[0])
        by_hidden = None
        if ctx.needs_input_grad[0]:
            by_hidden = (by_inner @ a).view(*gradient[0].shape[:-1], -1)
            if keeps is not None:
                by_hidden.mul_(keeps)
            flat = by_hidden.view(kept.shape)
            torch.addmm(flat, by_result, weight, out=flat)
        return by_hidden, None, None, None, by_down, by_up, None


_learn: Callable[..., torch.Tensor] = _Learning.apply

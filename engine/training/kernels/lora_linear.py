"""A linear layer with its LoRA adapter as one function, for a CPU (E. J. Hu et al., LoRA, arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.nn import functional

from engine.training.kernels.dropout import FastDropout
from engine.training.kernels.replacement import ModuleSite


def lora_sites(model: torch.nn.Module) -> list[LoraSite]:
    """Return the plain LoRA layers of `model` in training, which may take fewer passes through memory on a CPU.

    In peft's own steps the scales of LoRA and dropout, the sum of the two branches and the sum of their gradients each
    take all activations through memory once more. Variants such as DoRA are left alone.
    """
    layers = [module for module in model.modules() if type(module) is Linear and module.training]
    return [LoraSite(layer) for layer in layers if _is_plain(layer)]


class LoraSite(ModuleSite):
    """A linear layer with its adapter; those of one shape and setting are alike."""

    def __init__(self, module: Any) -> None:
        super().__init__("LoRA layers", module, lambda own: partial(_forward, module, own))
        (self._name,) = module.lora_A.keys()

    @property
    def alike(self) -> Hashable:
        module, name = self.module, self._name
        weights = (module.get_base_layer().weight, *self.trained())
        shapes = tuple((weight.shape, weight.dtype) for weight in weights)
        dropout = getattr(module.lora_dropout[name], "p", 0.0)
        return (shapes, module.get_base_layer().bias is None, module.scaling[name], dropout)

    def trained(self) -> list[torch.nn.Parameter]:
        return [self.module.lora_A[self._name].weight, self.module.lora_B[self._name].weight]

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Let the adapter add something, as the gradient of a fresh one is zero in part."""
        up = self.trained()[1]
        before = up.data
        up.data = torch.randn_like(before)
        try:
            yield
        finally:
            up.data = before


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
    module: Any, original: Callable[..., torch.Tensor], hidden: torch.Tensor, *others: Any, **options: Any
) -> torch.Tensor:
    """Return `module(hidden)` [..., out_features] of `hidden` [..., in_features]; outside training by `original`."""
    (name,) = module.lora_A.keys()
    dropout = module.lora_dropout[name]
    has_mask = isinstance(dropout, FastDropout) and dropout.applies_to(hidden)
    if others or options or not _can_fuse(module, hidden) or not (has_mask or type(dropout) is torch.nn.Identity):
        return original(hidden, *others, **options)
    mask, scale = dropout.draw_mask(hidden) if has_mask else (None, 1.0)
    base, down, up = module.get_base_layer(), module.lora_A[name].weight, module.lora_B[name].weight
    return _fused_lora(hidden, mask, base.weight, base.bias, down, up, scale * module.scaling[name])


def _can_fuse(module: Any, hidden: torch.Tensor) -> bool:
    """Return whether gradients go to the adapter of `module` alone, on a CPU, and all is of one precision."""
    if hidden.device.type != "cpu" or not module.training or not torch.is_grad_enabled():
        return False
    if module.disable_adapters or module.merged or torch.compiler.is_compiling():
        return False
    base = module.get_base_layer()
    autocast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
    frozen = not any(parameter.requires_grad for parameter in base.parameters())
    return frozen and hidden.dtype == base.weight.dtype == autocast


class _FusedLora(torch.autograd.Function):
    """y = x W^T + b + s ((mask * x) A^T) B^T, and its gradients by x, A and B.

    Args:
        hidden: x [..., in_features].
        mask: zeros and ones, int16 of the shape of `hidden`; None keeps all.
        weight, bias: W [out_features, in_features] and b [out_features] or None, which are frozen.
        down, up: A [r, in_features] and B [out_features, r].
        scale: s.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, mask: torch.Tensor | None, weight: torch.Tensor, bias: torch.Tensor | None,
        down: torch.Tensor, up: torch.Tensor, scale: float,
    ) -> torch.Tensor:  # fmt: skip
        a, b = down.to(hidden.dtype), up.to(hidden.dtype)
        inner = _masked(hidden, mask) @ a.t()  # [tokens, r]
        result = functional.linear(hidden, weight, bias)  # [..., out_features]
        flat = result.view(-1, result.shape[-1])  # [tokens, out_features]
        torch.addmm(flat, inner, b.t(), alpha=scale, out=flat)  # not addmm_, which torch's FLOP counter ignores
        # Not what is masked: `hidden` is one tensor for all layers that read it.
        ctx.save_for_backward(mask, hidden, inner, weight, a, b)
        ctx.scale, ctx.dtypes = scale, (down.dtype, up.dtype)
        return result

    @staticmethod
    def backward(ctx: Any, *grad_result: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        mask, hidden, inner, weight, a, b = ctx.saved_tensors
        grad_flat = grad_result[0].flatten(0, -2)  # [tokens, out_features]
        grad_up = (grad_flat.t() @ inner).to(ctx.dtypes[1]).mul_(ctx.scale)  # [out_features, r]
        grad_inner = (grad_flat @ b).mul_(ctx.scale)  # [tokens, r]
        grad_down = (grad_inner.t() @ _masked(hidden, mask)).to(ctx.dtypes[0])  # [r, in_features]
        grad_hidden = None
        if ctx.needs_input_grad[0]:
            grad_hidden = (grad_inner @ a).view(*grad_result[0].shape[:-1], -1)  # [..., in_features]
            if mask is not None:
                grad_hidden.mul_(mask)
            flat = grad_hidden.view(-1, weight.shape[1])  # [tokens, in_features]
            torch.addmm(flat, grad_flat, weight, out=flat)
        return grad_hidden, None, None, None, grad_down, grad_up, None


def _masked(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return mask * hidden, [tokens, in_features]."""
    masked = hidden if mask is None else mask.to(hidden.dtype).mul_(hidden)
    return masked.flatten(0, -2)


_fused_lora: Callable[..., torch.Tensor] = _FusedLora.apply

"""Rotary position embedding in fewer kernels than models use for it (J. Su et al., RoFormer, arXiv 2104.09864)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from functools import partial
from types import ModuleType
from typing import Any

import torch

from engine.training.kernels.replacement import Function, Site

FUNCTION = "apply_rotary_pos_emb"  # as transformers' modules of models call it

QueryAndKey = tuple[torch.Tensor, torch.Tensor]


def rotary_sites(model: torch.nn.Module) -> list[RotarySite]:
    """Return the functions that `model` rotates with, one for each module of code that has its layers.

    Those that rotate neighbouring dimensions, or only some of them, give other results.
    """
    modules = {sys.modules[type(module).__module__] for module in model.modules()}
    return [RotarySite(module) for module in modules if hasattr(module, FUNCTION)]


class RotarySite(Site):
    """A function in a module of code, shared by all models of it: it fits the one that was tried last."""

    operation = "rotary embeddings"

    def __init__(self, modeling: ModuleType) -> None:
        self._modeling = modeling
        current = getattr(modeling, FUNCTION)
        # It may be replaced already, for an earlier model.
        self._own: Function = current.args[0] if isinstance(current, partial) else current

    @property
    def own(self) -> Function:
        return self._own

    @property
    def replacement(self) -> Function:
        return partial(_rotate_both, self._own)

    @property
    def alike(self) -> Hashable:
        return self._modeling.__name__

    def install(self, function: Function) -> None:
        setattr(self._modeling, FUNCTION, function)

    def restore(self) -> None:
        setattr(self._modeling, FUNCTION, self._own)

    def learning(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return tensors[:2]  # query and key; nothing learns the angles


def _rotate_both(
    original: Callable[..., QueryAndKey],
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    *others: Any,
    unsqueeze_dim: int = 1,
    **options: Any,
) -> QueryAndKey:
    """Rotate query and key, [..., head_dim] each, by the angles of their positions."""
    if others or options or torch.compiler.is_compiling():
        return original(query, key, cos, sin, *others, unsqueeze_dim=unsqueeze_dim, **options)
    rotate = _roll if query.device.type == "cpu" and query.dtype == key.dtype == cos.dtype else _rotate
    return rotate(query, key, cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim))


class _Rotate(torch.autograd.Function):
    """Rotation in two kernels per tensor, for a GPU, where the time is that of the passes through memory."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> QueryAndKey:
        ctx.save_for_backward(cos, sin)
        (cos_1, cos_2), (sin_1, sin_2) = _halves(cos), _halves(sin)  # [..., 1, head_dim / 2] each
        of_first, of_second = torch.cat((cos_1, sin_2), dim=-2), torch.cat((-sin_1, cos_2), dim=-2)
        return _mix_halves(query, of_first, of_second), _mix_halves(key, of_first, of_second)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        (cos_1, cos_2), (sin_1, sin_2) = map(_halves, ctx.saved_tensors)  # [..., 1, head_dim / 2] each
        of_first, of_second = torch.cat((cos_1, -sin_1), dim=-2), torch.cat((sin_2, cos_2), dim=-2)
        query, key = (_mix_halves(gradient, of_first, of_second) for gradient in gradients)
        return query, key, None, None


_rotate: Callable[..., QueryAndKey] = _Rotate.apply


def _halves(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Split the last dimension in two, [..., 1, head_dim / 2] each."""
    halves: tuple[torch.Tensor, ...] = tensor.unflatten(-1, (2, tensor.shape[-1] // 2)).split(1, dim=-2)
    return halves


def _mix_halves(tensor: torch.Tensor, of_first: torch.Tensor, of_second: torch.Tensor) -> torch.Tensor:
    """Return [..., head_dim], the two halves of `tensor` mixed.

    Each half of `tensor` adds to both halves of the result, by factors [..., 2, head_dim / 2].
    """
    first, second = _halves(tensor)
    return torch.addcmul(first * of_first, second, of_second).flatten(-2)


class _Roll(torch.autograd.Function):
    """Rotation in four kernels per tensor, for a CPU, which is slow at half a head at a time."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> QueryAndKey:
        first, second = sin.chunk(2, dim=-1)  # [..., head_dim / 2] each
        signed_sin = torch.cat((-first, second), dim=-1)  # [..., head_dim]
        ctx.save_for_backward(cos, signed_sin)
        return _rotate_by_roll(query, cos, signed_sin), _rotate_by_roll(key, cos, signed_sin)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        cos, signed_sin = ctx.saved_tensors
        inverse_sin = _swap_halves(signed_sin)
        query, key = (_rotate_by_roll(gradient, cos, inverse_sin) for gradient in gradients)
        return query, key, None, None


_roll: Callable[..., QueryAndKey] = _Roll.apply


def _swap_halves(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.roll(tensor.shape[-1] // 2, -1)


def _rotate_by_roll(tensor: torch.Tensor, cos: torch.Tensor, signed_sin: torch.Tensor) -> torch.Tensor:
    """Return `tensor` [..., head_dim] rotated, in the same memory layout."""
    if not tensor.is_contiguous() and tensor.ndim == 4:  # heads and tokens are transposed, which makes rolling slow
        tensor, cos, signed_sin = (each.transpose(1, 2) for each in (tensor, cos, signed_sin))
        return _rotate_by_roll(tensor.contiguous(), cos, signed_sin).transpose(1, 2)
    return _swap_halves(tensor).mul_(signed_sin).add_(tensor * cos)

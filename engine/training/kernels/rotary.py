"""Rotary position embedding in fewer kernels than models take for it (J. Su et al., RoFormer, arXiv 2104.09864)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

NAME = "apply_rotary_pos_emb"  # of the function in transformers' modules of models
TOLERANCE = 1e-5  # relative, in float32

Rotated = tuple[torch.Tensor, torch.Tensor]


def fuse_rotary(model: torch.nn.Module) -> int:
    """Put it in the place of those functions that `model` rotates by and that give the same; how many they are.

    Models that turn neighbouring dimensions, or some of them only, are left alone.
    """
    modules = {sys.modules[type(module).__module__] for module in model.modules()}
    found = [module for module in modules if (rotate := getattr(module, NAME, None)) and _is_plain(rotate)]
    for module in found:
        rotate = getattr(module, NAME)
        if not isinstance(rotate, partial):  # an earlier model's is there already
            setattr(module, NAME, partial(_rotate_both, rotate))
    return len(found)


def _is_plain(written_out: Callable[..., Rotated]) -> bool:
    """Whether it turns the first half of each head's dimensions against the second."""
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, heads, 3, 8, generator=generator) for heads in (4, 2))
    angles = torch.randn(1, 3, 4, generator=generator).repeat(1, 1, 2)
    try:
        wanted = written_out(query, key, angles.cos(), angles.sin())
        found = _rotate_both(written_out, query, key, angles.cos(), angles.sin())
        return all(
            (ours - theirs).norm() < TOLERANCE * theirs.norm() for ours, theirs in zip(found, wanted, strict=True)
        )
    except Exception:  # one that is called in another way
        return False


def _rotate_both(
    written_out: Callable[..., Rotated],
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    *others: Any,
    unsqueeze_dim: int = 1,
    **options: Any,
) -> Rotated:
    """Query and key, [..., head_dim] each, turned by the angles of their positions."""
    if others or options or torch.compiler.is_compiling():
        return written_out(query, key, cos, sin, *others, unsqueeze_dim=unsqueeze_dim, **options)
    rotate = _roll if query.device.type == "cpu" and query.dtype == key.dtype == cos.dtype else _rotate
    return rotate(query, key, cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim))


class _Rotate(torch.autograd.Function):
    """In two kernels each, as a GPU is waited for by what they take through its memory."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Rotated:
        ctx.save_for_backward(cos, sin)
        (cos_1, cos_2), (sin_1, sin_2) = _halves(cos), _halves(sin)
        of_first, of_second = torch.cat((cos_1, sin_2), dim=-2), torch.cat((-sin_1, cos_2), dim=-2)
        return _mixed(query, of_first, of_second), _mixed(key, of_first, of_second)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        (cos_1, cos_2), (sin_1, sin_2) = map(_halves, ctx.saved_tensors)
        of_first, of_second = torch.cat((cos_1, -sin_1), dim=-2), torch.cat((sin_2, cos_2), dim=-2)
        query, key = (_mixed(gradient, of_first, of_second) for gradient in gradients)
        return query, key, None, None


_rotate: Callable[..., Rotated] = _Rotate.apply


def _halves(given: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[..., 1, head_dim / 2] each."""
    halves: tuple[torch.Tensor, ...] = given.unflatten(-1, (2, given.shape[-1] // 2)).split(1, dim=-2)
    return halves


def _mixed(given: torch.Tensor, of_first: torch.Tensor, of_second: torch.Tensor) -> torch.Tensor:
    """[..., head_dim], to both halves of which the two of `given` contribute by [..., 2, head_dim / 2] each."""
    first, second = _halves(given)
    return torch.addcmul(first * of_first, second, of_second).flatten(-2)


class _Roll(torch.autograd.Function):
    """In four each, none of which goes by halves of heads, as a CPU is slow at so few numbers at a time."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Rotated:
        first, second = sin.chunk(2, dim=-1)
        signed = torch.cat((-first, second), dim=-1)
        ctx.save_for_backward(cos, signed)
        return _turned(query, cos, signed), _turned(key, cos, signed)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        cos, signed = ctx.saved_tensors
        back = _halves_swapped(signed)
        query, key = (_turned(gradient, cos, back) for gradient in gradients)
        return query, key, None, None


_roll: Callable[..., Rotated] = _Roll.apply


def _halves_swapped(given: torch.Tensor) -> torch.Tensor:
    return given.roll(given.shape[-1] // 2, -1)


def _turned(given: torch.Tensor, cos: torch.Tensor, signed: torch.Tensor) -> torch.Tensor:
    """[..., head_dim], as it lies in memory."""
    if not given.is_contiguous() and given.ndim == 4:  # heads and tokens have changed places, in which rolling is slow
        given, cos, signed = (tensor.transpose(1, 2) for tensor in (given, cos, signed))
        return _turned(given.contiguous(), cos, signed).transpose(1, 2)
    return _halves_swapped(given).mul_(signed).add_(given * cos)

"""Causal attention over packed rows on a CPU, one row at a time, there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def attend_by_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: tuple[int, ...], scale: float | None
) -> torch.Tensor:
    """Attention of each token to itself and to those before it in its row.

    The way back is in float32 whatever the way there is in: torch's kernel takes far longer for it in half precision.

    Args:
        query: [1, heads, tokens, head_dim].
        key, value: the same, with as many heads or a divisor of them.
        lengths: tokens of each row, adding up to all.
        scale: what scores are multiplied by; None is 1 / sqrt(head_dim).

    Returns:
        [1, tokens, heads, head_dim], contiguous, in the dtype of `query`.
    """
    if query.shape[1] != key.shape[1]:
        group = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(group, dim=1) for tensor in (key, value))
    return _attend(query, key, value, lengths, scale)


class _RowAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: tuple[int, ...],
        scale: float | None,
    ) -> torch.Tensor:
        attended = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        kept = []
        for given, out in zip(_rows(lengths, query, key, value), _rows(lengths, attended.transpose(1, 2)), strict=True):
            found, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *given, is_causal=True, scale=scale
            )
            out[0].copy_(found)
            kept += [found, log_sums]
        ctx.save_for_backward(query, key, value, *kept)
        ctx.lengths, ctx.scale = lengths, scale
        return attended

    @staticmethod
    def backward(ctx: Any, *by_attended: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        given = [tensor.float() for tensor in (by_attended[0].transpose(1, 2), query, key, value)]
        gradients = [torch.empty_like(tensor) for tensor in (query, key, value)]
        rows = zip(_rows(ctx.lengths, *given), _rows(ctx.lengths, *gradients), kept[::2], kept[1::2], strict=True)
        for row, outs, found, log_sums in rows:
            by_row = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                *row, found.float(), log_sums, dropout_p=0.0, is_causal=True, scale=ctx.scale
            )
            for out, gradient in zip(outs, by_row, strict=True):
                out.copy_(gradient)
        return *gradients, None, None


def _rows(lengths: tuple[int, ...], *tensors: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """The part of each row in each of `tensors`, which are [1, heads, tokens, head_dim]."""
    return list(zip(*(tensor.split(lengths, dim=2) for tensor in tensors), strict=True))


_attend: Callable[..., torch.Tensor] = _RowAttention.apply

"""Causal attention over packed rows on a CPU, one row at a time, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def attend_by_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: tuple[int, ...], scale: float | None
) -> torch.Tensor:
    """Return the attention of each token to itself and to the tokens before it in its row.

    Backward runs in float32 whatever the precision of forward: torch's kernel is far slower in half precision.

    Args:
        query: [1, heads, tokens, head_dim].
        key, value: [1, kv_heads, tokens, head_dim], where kv_heads divides heads.
        lengths: tokens of each row; their sum is tokens.
        scale: factor of the scores; None is 1 / sqrt(head_dim).

    Returns:
        [1, tokens, heads, head_dim], contiguous, in the dtype of `query`.
    """
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
        # [1, tokens, heads, head_dim]
        attended = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        saved = []
        all_rows = _rows(lengths, query, *_for_all_heads(query.shape[1], key, value))
        for row, out in zip(all_rows, _rows(lengths, attended.transpose(1, 2)), strict=True):
            # [1, heads, row tokens, head_dim], [1, heads, row tokens]
            output, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *row, is_causal=True, scale=scale
            )
            out[0].copy_(output)
            saved += [output, log_sums]
        ctx.save_for_backward(query, key, value, *saved)
        ctx.lengths, ctx.scale = lengths, scale
        return attended

    @staticmethod
    def backward(ctx: Any, *grad_attended: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        keys, values = _for_all_heads(query.shape[1], key, value)
        # [1, heads, tokens, head_dim] each
        inputs = [tensor.float() for tensor in (grad_attended[0].transpose(1, 2), query, keys, values)]
        gradients = [torch.empty_like(tensor) for tensor in (query, keys, values)]
        rows = zip(_rows(ctx.lengths, *inputs), _rows(ctx.lengths, *gradients), saved[::2], saved[1::2], strict=True)
        for row, outs, output, log_sums in rows:
            row_gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                *row, output.float(), log_sums, dropout_p=0.0, is_causal=True, scale=ctx.scale
            )
            for out, gradient in zip(outs, row_gradients, strict=True):
                out.copy_(gradient)
        grad_query, *others = gradients
        grad_key, grad_value = (gradient.unflatten(1, (key.shape[1], -1)).sum(dim=2) for gradient in others)
        return grad_query, grad_key, grad_value, None, None


def _for_all_heads(heads: int, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """Return [1, heads, tokens, head_dim] of each [1, kv_heads, tokens, head_dim], which alone is kept for backward."""
    return [
        tensor if tensor.shape[1] == heads else tensor.repeat_interleave(heads // tensor.shape[1], dim=1)
        for tensor in tensors
    ]


def _rows(lengths: tuple[int, ...], *tensors: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """Return a tuple for each row: its [1, heads, row tokens, head_dim] of each of `tensors`."""
    return list(zip(*(tensor.split(lengths, dim=2) for tensor in tensors), strict=True))


_attend: Callable[..., torch.Tensor] = _RowAttention.apply

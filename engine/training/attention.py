"""Attention over packed rows that never crosses from one row into another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

from engine.training.batches import Batch

NAME = "loratui_rows"
VARLEN_HEAD_DIM = 256  # the widest head that torch's flash kernel takes


class RowAttention:
    """An attention function for transformers that attends within each row of the batch it was last shown.

    It knows the rows by itself rather than by an argument: not every model hands arguments down to its attention, and
    a compiled one would be compiled anew for every other list of lengths.
    """

    def __init__(self) -> None:
        self._lengths: tuple[int, ...] = ()
        self._starts: torch.Tensor | None = None

    def show(self, batch: Batch) -> None:
        """Attend within the rows of `batch` from here on, in its backward pass too."""
        self._lengths, self._starts = batch.row_lengths, batch.row_starts

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        dropout: float = 0.0,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """Causal attention of [1, heads, tokens, head_dim] each; returns [1, tokens, heads, head_dim].

        Raises:
            ValueError: the model asks for more than plain attention, or for other tokens than it was shown.
        """
        if attention_mask is not None or options.get("softcap") is not None or sum(self._lengths) != query.shape[2]:
            raise ValueError("this attention is plain, and over packed rows")
        if self._starts is not None and dropout == 0.0 and _has_varlen_kernel(query):
            return _varlen(query, key, value, scaling, self._starts, max(self._lengths)), None
        if query.device.type == "cpu" and query.dtype == torch.bfloat16 and dropout == 0.0:
            return matrix_attention(query, key, value, scaling, self._lengths), None
        grouped, lengths = query.shape[1] != key.shape[1], list(self._lengths)
        attended = [
            functional.scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
            )
            for q, k, v in zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
        ]
        return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


ROWS = RowAttention()
AttentionInterface.register(NAME, ROWS)


def matrix_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, lengths: tuple[int, ...]
) -> torch.Tensor:
    """Row by row with whole matrices of scores, made again on the way back rather than kept; shapes as `RowAttention`.

    In bfloat16 on a CPU this takes half the time of torch's flash kernel, which works on small blocks and turns them
    into float32 and back.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended: torch.Tensor = _MatrixAttention.apply(query[0], key[0], value[0], scale, lengths)  # type: ignore[no-untyped-call]
    return attended.transpose(0, 1)[None].contiguous()


class _MatrixAttention(torch.autograd.Function):
    """Of [heads, tokens, head_dim]; the query heads that share a key head lie below each other in one matrix."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, lengths: tuple[int, ...]
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale, ctx.lengths = scale, lengths
        attended = torch.empty(query.shape[0], query.shape[1], value.shape[2], dtype=query.dtype)
        for row in _rows(lengths):
            weights = _weights(_grouped(query[:, row], key), key[:, row], scale)
            attended[:, row] = torch.bmm(weights, value[:, row]).view_as(attended[:, row])
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (attended,) = gradients
        query, key, value = ctx.saved_tensors
        of_query, of_key, of_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        for row in _rows(ctx.lengths):
            asked, from_above = _grouped(query[:, row], key), _grouped(attended[:, row], key)
            weights = _weights(asked, key[:, row], ctx.scale)
            of_weights = torch.bmm(from_above, value[:, row].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(ctx.scale)
            of_value[:, row] = torch.bmm(weights.transpose(1, 2), from_above)
            of_query[:, row] = torch.bmm(of_scores, key[:, row]).view_as(query[:, row])
            of_key[:, row] = torch.bmm(of_scores.transpose(1, 2), asked)
        return of_query, of_key, of_value, None, None


def _rows(lengths: tuple[int, ...]) -> Iterator[slice]:
    start = 0
    for length in lengths:
        yield slice(start, start + length)
        start += length


def _grouped(tensor: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """[key heads, query heads per key head * length, head_dim]."""
    return tensor.reshape(key.shape[0], -1, tensor.shape[2])


def _weights(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """softmax(scale * query * key^T), where no token sees a later one."""
    length = key.shape[1]
    later = torch.full((length, length), -torch.inf, dtype=query.dtype).triu_(1)
    mask = later.repeat(query.shape[1] // length, 1)[None]
    return torch.baddbmm(mask, query, key.transpose(1, 2), alpha=scale).softmax(-1)


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    starts: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """All rows in one kernel; shapes as `RowAttention`."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    attended = varlen_attn(
        q, k, v, starts, starts, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=grouped
    )
    assert isinstance(attended, torch.Tensor)
    return attended[None]


def _has_varlen_kernel(query: torch.Tensor) -> bool:
    """Flash attention needs an Ampere card or newer and half precision (torch.nn.attention.varlen)."""
    return (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] <= VARLEN_HEAD_DIM
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


@contextmanager
def attention_of(model: Any, name: str) -> Iterator[None]:
    """Have the transformers model `model` attend by the function of that name."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)

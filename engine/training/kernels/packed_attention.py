"""Attention over packed rows that never crosses from one row into another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

from engine.training.data.batching import Batch
from engine.training.kernels.cpu_attention import attend_by_row
from engine.training.runtime.device import kernel_type

ATTENTION_NAME = "loratui_rows"
VARLEN_HEAD_DIM = 256  # the widest head that torch's flash kernel takes


class PackedAttention:
    """An attention function for transformers that attends within each row of the batch set last.

    It holds the row lengths itself rather than take them as an argument: not every model passes arguments on to its
    attention, and a compiled function would be compiled again for every new list of lengths.
    """

    def __init__(self) -> None:
        self._tokens = self._longest = 0
        self._lengths: tuple[int, ...] = ()
        self._starts: torch.Tensor | None = None

    def set_rows(self, batch: Batch) -> None:
        """Attend within the rows of `batch` from now on, in its backward pass too."""
        self._tokens, self._longest = batch.input_ids.shape[1], batch.longest
        self._lengths, self._starts = batch.row_lengths, batch.row_starts

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
        """Return the causal attention, [1, tokens, heads, head_dim].

        Args:
            query: [1, heads, tokens, head_dim].
            key, value: [1, kv_heads, tokens, head_dim].

        Raises:
            ValueError: the model needs more than plain attention, or has other tokens than the batch set last.
        """
        if attention_mask is not None or options.get("softcap") is not None or self._tokens != query.shape[2]:
            raise ValueError("only plain attention over the packed rows set last is supported")
        if self._starts is not None and dropout == 0.0 and _takes_varlen(query):
            return _varlen(query, key, value, scaling, self._starts, self._longest), None
        if not self._lengths:
            raise ValueError("attention row by row needs row lengths, which only the GPU has for this batch")
        learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
        if query.device.type == "cpu" and learns and dropout == 0.0 and query.shape[-1] == value.shape[-1]:
            return attend_by_row(query, key, value, self._lengths, scaling), None
        return self._row_by_row(query, key, value, dropout, scaling).transpose(1, 2).contiguous(), None

    def _row_by_row(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scaling: float | None
    ) -> torch.Tensor:
        """Return [1, heads, tokens, head_dim], by one call for each row."""
        grouped, lengths = query.shape[1] != key.shape[1], list(self._lengths)
        rows = zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
        attended = [
            functional.scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
            )
            for q, k, v in rows  # [1, heads or kv_heads, row tokens, head_dim] each
        ]
        return torch.cat(attended, dim=2)


PACKED_ATTENTION = PackedAttention()
AttentionInterface.register(ATTENTION_NAME, torch.compiler.disable(PACKED_ATTENTION.__call__))


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    starts: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """Attend in all rows by one kernel; shapes as in `PackedAttention`."""
    from torch.nn.attention.varlen import varlen_attn

    # [tokens, heads or kv_heads, head_dim] each; by [0] instead of squeeze the gradient would be copied
    q, k, v = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    attended = varlen_attn(
        q, k, v, starts, starts, longest, longest, scale=scaling, window_size=(-1, 0), **_grouped_heads()
    )
    assert isinstance(attended, torch.Tensor)
    return attended[None]  # [1, tokens, heads, head_dim]


@cache
def _grouped_heads() -> dict[str, Any]:
    """Return the option that newer torch needs for fewer key heads than query heads; older torch takes them as is."""
    from torch.nn.attention.varlen import varlen_attn

    return {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}


def _takes_varlen(query: torch.Tensor) -> bool:
    if query.shape[-1] > VARLEN_HEAD_DIM:
        return False
    if query.device.type == "cpu" and kernel_type(query) == "cuda":  # a trace: only cards that have the kernel get it
        return query.dtype == torch.bfloat16
    return has_varlen_kernel(query.device, query.dtype)


def has_varlen_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether flash attention runs: on an Ampere card or newer in half precision (torch.nn.attention.varlen)."""
    half = dtype in (torch.bfloat16, torch.float16)
    return half and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@contextmanager
def using_attention(model: Any, name: str) -> Iterator[None]:
    """Have `model`, one of transformers, attend by the function registered as `name`."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)

"""Attention row by row on a CPU is attention written out, and so is its gradient."""

from __future__ import annotations

import math

import pytest
import torch

from engine.training.kernels.cpu_attention import attend_by_row

LENGTHS = (5, 1, 600, 34)  # on both sides of what torch's kernel takes in one block of 32, 64 or 512
HEAD_DIM = 8
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def written_out(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> torch.Tensor:
    """softmax(scale * query @ key^T) @ value in float64, over rows and causal by a mask."""
    rows = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    sees = (rows[:, None] == rows) & torch.ones(len(rows), len(rows), dtype=torch.bool).tril()
    group = query.shape[1] // key.shape[1]
    keys, values = (tensor.double().repeat_interleave(group, dim=1) for tensor in (key, value))
    scores = query.double() @ keys.transpose(2, 3) * (1 / math.sqrt(HEAD_DIM) if scale is None else scale)
    return (scores.masked_fill(~sees, -math.inf).softmax(dim=-1) @ values).transpose(1, 2)


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    error: float = ((found.double() - wanted).norm() / wanted.norm()).item()
    return error


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (6, 2), (4, 1)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_it_is_attention_within_rows(dtype: torch.dtype, heads: int, key_heads: int, scale: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(1, sum(LENGTHS), count, HEAD_DIM, generator=generator).to(dtype).requires_grad_()
        for count in (heads, key_heads, key_heads)
    ]
    query, key, value = (tensor.transpose(1, 2) for tensor in given)  # as models hand them over
    by_attended = torch.randn(1, sum(LENGTHS), heads, HEAD_DIM, generator=generator)
    found = attend_by_row(query, key, value, LENGTHS, scale)
    assert found.dtype == dtype and found.is_contiguous()
    wanted = written_out(query, key, value, scale)
    assert relative_error(found, wanted) < TOLERANCE[dtype]
    gradients = torch.autograd.grad(found, given, by_attended.to(dtype))
    for gradient, expected in zip(gradients, torch.autograd.grad(wanted, given, by_attended.double()), strict=True):
        assert gradient.dtype == dtype
        assert relative_error(gradient, expected.double()) < 2 * TOLERANCE[dtype]


def test_nothing_of_one_row_reaches_another() -> None:
    """Not even what is no number."""
    query, key, value = (torch.randn(1, 2, sum(LENGTHS), HEAD_DIM, requires_grad=True) for _ in range(3))
    with torch.no_grad():
        for tensor in (query, key, value):
            tensor[:, :, : LENGTHS[0]] = math.nan
    found = attend_by_row(query, key, value, LENGTHS, None)
    gradients = torch.autograd.grad(found.sum(), [query, key, value])
    for tensor in (found.transpose(1, 2), *gradients):
        assert tensor[:, :, : LENGTHS[0]].isnan().all() and tensor[:, :, LENGTHS[0] :].isfinite().all()

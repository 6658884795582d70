"""Attention row by row on a CPU against its formula in float64, forward and backward."""

from __future__ import annotations

import math

import pytest
import torch

from engine.training.kernels.cpu_attention import attend_by_row

LENGTHS = (5, 1, 600, 34)  # on both sides of what torch's kernel takes in one block of 32, 64 or 512
HEAD_DIM = 8
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> torch.Tensor:
    """softmax(scale * query @ key^T) @ value in float64, over rows and causal by a mask."""
    rows = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    mask = (rows[:, None] == rows) & torch.ones(len(rows), len(rows), dtype=torch.bool).tril()
    group = query.shape[1] // key.shape[1]
    keys, values = (tensor.double().repeat_interleave(group, dim=1) for tensor in (key, value))
    scores = query.double() @ keys.transpose(2, 3) * (1 / math.sqrt(HEAD_DIM) if scale is None else scale)
    return (scores.masked_fill(~mask, -math.inf).softmax(dim=-1) @ values).transpose(1, 2)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    error: float = ((actual.double() - expected).norm() / expected.norm()).item()
    return error


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (6, 2), (4, 1)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_outputs_and_gradients_are_those_of_attention_within_rows(
    dtype: torch.dtype, heads: int, key_heads: int, scale: float | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(1, sum(LENGTHS), count, HEAD_DIM, generator=generator).to(dtype).requires_grad_()
        for count in (heads, key_heads, key_heads)
    ]
    query, key, value = (tensor.transpose(1, 2) for tensor in inputs)  # the memory layout that models pass
    grad_output = torch.randn(1, sum(LENGTHS), heads, HEAD_DIM, generator=generator)
    actual = attend_by_row(query, key, value, LENGTHS, scale)
    assert actual.dtype == dtype and actual.is_contiguous()
    exact = reference(query, key, value, scale)
    assert relative_error(actual, exact) < TOLERANCE[dtype]
    gradients = torch.autograd.grad(actual, inputs, grad_output.to(dtype))
    for gradient, expected in zip(gradients, torch.autograd.grad(exact, inputs, grad_output.double()), strict=True):
        assert gradient.dtype == dtype
        assert relative_error(gradient, expected.double()) < 2 * TOLERANCE[dtype]


def test_nothing_of_one_row_reaches_another() -> None:
    """The values of the first row are NaN, and nothing else becomes NaN."""
    query, key, value = (torch.randn(1, 2, sum(LENGTHS), HEAD_DIM, requires_grad=True) for _ in range(3))
    with torch.no_grad():
        for tensor in (query, key, value):
            tensor[:, :, : LENGTHS[0]] = math.nan
    actual = attend_by_row(query, key, value, LENGTHS, None)
    gradients = torch.autograd.grad(actual.sum(), [query, key, value])
    for tensor in (actual.transpose(1, 2), *gradients):
        assert tensor[:, :, : LENGTHS[0]].isnan().all() and tensor[:, :, LENGTHS[0] :].isfinite().all()

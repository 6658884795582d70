"""A norm whose weight is not trained: the formula's numbers and gradients, computed in float64 by autograd."""

from __future__ import annotations

import pytest
import torch

from engine.training.kernels.rms_norm import fuse_norms
from tests.support.passes import relative_error

EPSILON = 1e-5
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


def written_out(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return weight * hidden / (hidden.square().mean(dim=-1, keepdim=True) + EPSILON).sqrt()


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0, 1e4])  # around the epsilon's root, and far from it
def test_it_is_the_formula(dtype: torch.dtype, size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, gradient = (torch.randn(3, 5, 48, generator=generator).to(dtype) for _ in range(2))
    norm = torch.nn.RMSNorm(48, eps=EPSILON, dtype=dtype).requires_grad_(False)
    norm.weight.copy_(torch.randn(48, generator=generator))
    assert fuse_norms(norm) == 1
    given = (size * hidden).requires_grad_()
    kept = given.detach().clone()
    found = norm(given)
    exact = given.detach().double().requires_grad_()
    wanted = written_out(exact, norm.weight.double())
    assert found.dtype == dtype and relative_error(found.double(), wanted) < ROUNDING[dtype]
    (ours,) = torch.autograd.grad(found, given, gradient)
    (theirs,) = torch.autograd.grad(wanted, exact, gradient.double())
    assert relative_error(ours.double(), theirs) < ROUNDING[dtype]
    assert torch.equal(given, kept)


def test_nothing_but_noughts_stay_noughts() -> None:
    norm = torch.nn.RMSNorm(8, eps=EPSILON).requires_grad_(False)
    assert fuse_norms(norm) == 1
    given = torch.zeros(2, 8, requires_grad=True)
    found = norm(given)
    (gradient,) = torch.autograd.grad(found.sum(), given)
    assert not found.any() and torch.allclose(gradient, torch.full_like(gradient, EPSILON**-0.5))

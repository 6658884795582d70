"""An RMS norm with a frozen weight against its formula in float64, forward and backward."""

from __future__ import annotations

import pytest
import torch

from engine.training.kernels.rms_norm import norm_sites
from tests.support.passes import relative_error, replace_in_module

EPSILON = 1e-5
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


def reference(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return weight * hidden / (hidden.square().mean(dim=-1, keepdim=True) + EPSILON).sqrt()


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0, 1e4])  # around the epsilon's root, and far from it
def test_outputs_and_gradients_are_those_of_the_formula(dtype: torch.dtype, size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, gradient = (torch.randn(3, 5, 48, generator=generator).to(dtype) for _ in range(2))
    norm = torch.nn.RMSNorm(48, eps=EPSILON, dtype=dtype).requires_grad_(False)
    norm.weight.copy_(torch.randn(48, generator=generator))
    assert replace_in_module(norm_sites, norm, hidden) == 1
    scaled = (size * hidden).requires_grad_()
    before = scaled.detach().clone()
    output = norm(scaled)
    exact = scaled.detach().double().requires_grad_()
    expected = reference(exact, norm.weight.double())
    assert output.dtype == dtype and relative_error(output.double(), expected) < ROUNDING[dtype]
    (ours,) = torch.autograd.grad(output, scaled, gradient)
    (theirs,) = torch.autograd.grad(expected, exact, gradient.double())
    assert relative_error(ours.double(), theirs) < ROUNDING[dtype]
    assert torch.equal(scaled, before)


def test_zeros_stay_zeros() -> None:
    norm = torch.nn.RMSNorm(8, eps=EPSILON).requires_grad_(False)
    assert replace_in_module(norm_sites, norm, torch.ones(2, 8)) == 1
    zeros = torch.zeros(2, 8, requires_grad=True)
    output = norm(zeros)
    (gradient,) = torch.autograd.grad(output.sum(), zeros)
    assert not output.any() and torch.allclose(gradient, torch.full_like(gradient, EPSILON**-0.5))

"""The negative log-likelihood of the supervised tokens, without ever holding all their logits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional

CHUNK_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}  # of float32 logits: what a CPU's cache holds, what fills a GPU
ATTENDED_WIDTH = 1024  # the widest head that is faster as attention: at 2048 it takes 1.8 times as long
CERTAIN = 0.02  # nats; below it what attention rounds by is more than a tenth of the gradient


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Compute in the base model's half precision while the adapter stays in float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def head_nll(hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """Sum of -log softmax(head(hidden))[targets], in nats, a float32 scalar.

    The logits are made, used for loss and gradient, and forgotten, some rows at a time (as in P.-L. Hsu et al., Liger
    Kernel, arXiv 2410.10989); `head` is frozen.

    Args:
        hidden: [supervised tokens, hidden_size].
        targets: int64 [supervised tokens].
    """
    return _head_nll(hidden, head.weight, head.bias, targets)


@torch.no_grad()
def token_nlls(hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """As `head_nll`, of each token by itself: float32 [supervised tokens]. It has no gradient."""
    weight, at_once = head.weight, _rows_at_once(head.weight)
    chunks = zip(hidden.to(weight.dtype).split(at_once), targets.split(at_once), strict=True)
    return torch.cat([-_log_p(rows, weight, head.bias).gather(1, wanted[:, None])[:, 0] for rows, wanted in chunks])


def _rows_at_once(weight: torch.Tensor) -> int:
    return max(1, CHUNK_BYTES.get(weight.device.type, CHUNK_BYTES["cpu"]) // (4 * weight.shape[0]))


def _log_p(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.log_softmax(functional.linear(states, weight, bias), dim=-1, dtype=torch.float32)


def _is_fast_as_attention(weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.bfloat16)
        and bias is None
        and weight.shape[1] <= ATTENDED_WIDTH
    )


def _as_attention(
    states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_in_chunks`, the head's rows taken for keys and values that `states` attend to.

    Then the sum over the vocabulary that the loss needs is the logarithm that attention keeps, what is attended to is
    the row expected, and the gradient is that less the row wanted. No logits reach the memory.
    """
    rows = weight[None, None]
    expected, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        states[None, None], rows, rows, scale=1.0
    )
    wanted = weight[targets]
    nlls = log_sums.flatten() - (states.float() * wanted.float()).sum(dim=-1)
    gradient = expected[0, 0].sub_(wanted)
    certain = (nlls < CERTAIN).nonzero()[:, 0]
    if len(certain):  # of the difference of two rows almost alike little would be left but what they were rounded by
        gradient[certain] = _in_chunks(states[certain], weight, None, targets[certain])[1]
    return nlls.sum(), gradient


def _in_chunks(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(`head_nll` of `states`, its gradient by them)."""
    rows = _rows_at_once(weight)
    gradient = torch.empty_like(states)
    total = torch.zeros((), dtype=torch.float32, device=states.device)
    for start in range(0, len(targets), rows):
        chunk = slice(start, start + rows)
        log_p = _log_p(states[chunk], weight, bias)
        wanted = targets[chunk, None]
        total -= log_p.gather(1, wanted).sum()
        p = log_p.exp_()
        p.scatter_add_(1, wanted, p.new_full((), -1.0).expand_as(wanted))
        torch.mm(p.to(weight.dtype), weight, out=gradient[chunk])
    return total, gradient


class _HeadNll(torch.autograd.Function):
    @staticmethod
    @torch.no_grad()
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
    ) -> torch.Tensor:
        states = hidden.to(weight.dtype)
        if len(targets) and _is_fast_as_attention(weight, bias):  # attention of nothing ends the process
            total, gradient = _as_attention(states, weight, targets)
        else:
            total, gradient = _in_chunks(states, weight, bias, targets)
        ctx.save_for_backward(gradient)
        ctx.hidden_dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *scale: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * scale[0]).to(ctx.hidden_dtype), None, None, None


_head_nll: Callable[..., torch.Tensor] = _HeadNll.apply

"""The negative log-likelihood of the supervised tokens, without all their logits in memory at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional

from engine.system.training_memory import ATTENDED_WIDTH, LOGIT_BYTES
from engine.training.runtime.device import kernel_type

CERTAIN = {torch.float32: 1e-4, torch.bfloat16: 0.02}  # nats; below it rounding spoils what attention gives


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Compute in the base model's half precision while the adapter stays in float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def head_nll(hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """Return the sum of -log softmax(head(hidden))[targets], in nats, a float32 scalar.

    The logits are computed for some rows at a time, used for loss and gradient, and freed (as in P.-L. Hsu et al.,
    Liger Kernel, arXiv 2410.10989); `head` is frozen.

    Args:
        hidden: [supervised tokens, hidden_size].
        targets: int64 [supervised tokens].
    """
    return _head_nll(hidden, head.weight, head.bias, targets)


@torch.no_grad()
def token_nlls(hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood of each token, float32 [supervised tokens], without gradient.

    The arguments are those of `head_nll`.
    """
    weight, chunk_rows = head.weight, _rows_per_chunk(head.weight)
    chunks = zip(hidden.to(weight.dtype).split(chunk_rows), targets.split(chunk_rows), strict=True)
    return torch.cat([-_log_p(states, weight, head.bias).gather(1, ids[:, None])[:, 0] for states, ids in chunks])


def _rows_per_chunk(weight: torch.Tensor) -> int:
    return max(1, LOGIT_BYTES.get(kernel_type(weight), LOGIT_BYTES["cpu"]) // (4 * weight.shape[0]))


def _log_p(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return log-probabilities, float32 [rows, vocabulary], of `states` [rows, hidden_size]."""
    return torch.log_softmax(functional.linear(states, weight, bias), dim=-1, dtype=torch.float32)


def is_faster_as_attention(weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Return whether the loss of a head is computed as attention, which takes no memory for logits.

    Torch's attention multiplies bfloat16 by MKL, which without AMX may convert it to float32: 2.5 times as slow as
    oneDNN's products of chunks (benchmarks/RESULTS.md).
    """
    return (
        kernel_type(weight) == "cpu"
        and (weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()))
        and bias is None
        and weight.shape[1] <= ATTENDED_WIDTH
    )


def _nll_by_attention(
    states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same as `_nll_by_chunks`, by attention of `states` over the head's rows as both keys and values.

    The log-sum-exp that attention saves is the loss's sum over the vocabulary, its output is the expected row of the
    head, and the gradient is that row less the target's. No logits reach memory.
    """
    rows = weight[None, None]  # [1, 1, vocabulary, hidden_size]
    # [1, 1, supervised tokens, hidden_size], [1, 1, supervised tokens]
    expected, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        states[None, None], rows, rows, scale=1.0
    )
    target_rows = weight[targets]  # [supervised tokens, hidden_size]
    nlls = log_sums.flatten() - (states.float() * target_rows.float()).sum(dim=-1)  # [supervised tokens]
    gradient = expected[0, 0].sub_(target_rows)
    certain = (nlls < CERTAIN[weight.dtype]).nonzero()[:, 0]
    if len(certain):  # the two rows are almost equal, and their difference would be mostly rounding error
        gradient[certain] = _nll_by_chunks(states[certain], weight, None, targets[certain])[1]
    return nlls.sum(), gradient


def _nll_by_chunks(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (`head_nll` of `states`, its gradient by `states` [supervised tokens, hidden_size])."""
    rows = _rows_per_chunk(weight)
    gradient = torch.empty_like(states)
    total = torch.zeros((), dtype=torch.float32, device=states.device)
    for start in range(0, len(targets), rows):
        chunk = slice(start, start + rows)
        log_p = _log_p(states[chunk], weight, bias)  # [rows, vocabulary]
        ids = targets[chunk, None]  # [rows, 1]
        total -= log_p.gather(1, ids).sum()
        p = log_p.exp_()
        p.scatter_add_(1, ids, p.new_full((), -1.0).expand_as(ids))
        torch.mm(p.to(weight.dtype), weight, out=gradient[chunk])
    return total, gradient


class _HeadNll(torch.autograd.Function):
    @staticmethod
    @torch.no_grad()
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
    ) -> torch.Tensor:
        states = hidden.to(weight.dtype)
        if len(targets) and is_faster_as_attention(weight, bias):  # torch's kernel crashes on zero tokens
            total, gradient = _nll_by_attention(states, weight, targets)
        else:
            total, gradient = _nll_by_chunks(states, weight, bias, targets)
        ctx.save_for_backward(gradient)
        ctx.hidden_dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grad_total: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad_total[0]).to(ctx.hidden_dtype), None, None, None


_head_nll: Callable[..., torch.Tensor] = _HeadNll.apply

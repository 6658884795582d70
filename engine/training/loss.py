"""The negative log-likelihood of the supervised tokens, without ever holding all their logits."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional

CHUNK_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}  # of float32 logits: what a CPU's cache holds, what fills a GPU


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
    # torch leaves `Function.apply` without annotations, and mypy counts it as the subclass's own.
    nll: torch.Tensor = _HeadNll.apply(hidden, head.weight, head.bias, targets)  # type: ignore[no-untyped-call]
    return nll


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


class _HeadNll(torch.autograd.Function):
    @staticmethod
    @torch.no_grad()
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
    ) -> torch.Tensor:
        states = hidden.to(weight.dtype)
        rows = _rows_at_once(weight)
        gradient = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(targets), rows):
            chunk = slice(start, start + rows)
            log_p = _log_p(states[chunk], weight, bias)
            wanted = targets[chunk, None]
            total -= log_p.gather(1, wanted).sum()
            if gradient is not None:
                p = log_p.exp_()
                p.scatter_add_(1, wanted, p.new_full((), -1.0).expand_as(wanted))
                torch.mm(p.to(weight.dtype), weight, out=gradient[chunk])
        ctx.save_for_backward(gradient)
        ctx.hidden_dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *scale: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * scale[0]).to(ctx.hidden_dtype), None, None, None

"""Dropout that draws its mask faster than torch's on a CPU (N. Srivastava et al., Dropout, JMLR 2014)."""

from __future__ import annotations

import numpy as np
import torch

LEVELS = 2**16  # of the keep probability


class FastDropout(torch.nn.Dropout):
    """`torch.nn.Dropout` that on a CPU takes the random numbers of four elements from one 64-bit draw.

    The draws come from a faster generator of numpy (M. O'Neill, PCG, 2014), which torch's generator seeds at each call:
    a restored torch state gives the same masks. The keep probability is rounded to a multiple of 1 / `LEVELS` and the
    scale is its exact inverse, so the mean is preserved; like torch, it rounds the scale to the elements' precision.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.applies_to(hidden):
            return super().forward(hidden)
        mask, scale = self.draw_mask(hidden)
        return hidden * mask.mul_(scale)

    def applies_to(self, hidden: torch.Tensor) -> bool:
        """Return whether the fast mask is used for `hidden`, rather than torch's own dropout."""
        return self.training and 0 < self.p < 1 and hidden.device.type == "cpu" and not torch.compiler.is_compiling()

    def draw_mask(self, hidden: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Return (mask, scale): the mask, of the shape and dtype of `hidden`, is 1 where it is kept, else 0."""
        kept_levels = min(LEVELS, max(1, round((1 - self.p) * LEVELS)))
        seed = int(torch.randint(2**63 - 1, ()))
        # int16 [numel rounded up to a multiple of 4]
        numbers = torch.from_numpy(np.random.PCG64DXSM(seed).random_raw(-(-hidden.numel() // 4))).view(torch.int16)
        # In place, as converting bools to numbers takes ten times as long.
        mask = numbers[: hidden.numel()].view(hidden.shape).lt_(kept_levels - LEVELS // 2)
        return mask.to(hidden.dtype), LEVELS / kept_levels


def use_fast_dropout(modules: torch.nn.ModuleDict) -> None:
    """Replace torch's dropout among `modules` by `FastDropout`."""
    for name, module in modules.items():
        if type(module) is torch.nn.Dropout:
            modules[name] = FastDropout(module.p)

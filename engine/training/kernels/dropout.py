"""Dropout whose random numbers do not take a tenth of a step to draw (N. Srivastava et al., Dropout, JMLR 2014)."""

from __future__ import annotations

import numpy as np
import torch

LEVELS = 2**16  # of the share that is kept


class FastDropout(torch.nn.Dropout):
    """`torch.nn.Dropout`, on a CPU with four elements' random numbers in each that is drawn.

    They are drawn by a quicker generator of numpy's (M. O'Neill, PCG, 2014), that torch's seeds for each call, so what
    goes on from the state of torch's goes on the same. What is kept is scaled by what that share is in steps of
    1 / `LEVELS`, so the mean stays what it was; as torch's own it rounds the scale to the precision of the elements.
    """

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        if not self.applies_to(given):
            return super().forward(given)
        keeps, scale = self.draw(given)
        return given * keeps.mul_(scale)

    def applies_to(self, given: torch.Tensor) -> bool:
        """Whether `given` is dropped from in this way, not in torch's own."""
        return self.training and 0 < self.p < 1 and given.device.type == "cpu" and not torch.compiler.is_compiling()

    def draw(self, given: torch.Tensor) -> tuple[torch.Tensor, float]:
        """1 where an element of `given` is kept and else 0, of its shape and dtype; what is kept is scaled by."""
        kept = min(LEVELS, max(1, round((1 - self.p) * LEVELS)))
        seed = int(torch.randint(2**63 - 1, ()))
        drawn = torch.from_numpy(np.random.PCG64DXSM(seed).random_raw(-(-given.numel() // 4))).view(torch.int16)
        # In place, as making numbers of bools takes ten times as long.
        keeps = drawn[: given.numel()].view(given.shape).lt_(kept - LEVELS // 2)
        return keeps.to(given.dtype), LEVELS / kept


def use_fast_dropout(modules: torch.nn.ModuleDict) -> None:
    """Put it in the place of those of `modules` that are torch's own."""
    for name, module in modules.items():
        if type(module) is torch.nn.Dropout:
            modules[name] = FastDropout(module.p)

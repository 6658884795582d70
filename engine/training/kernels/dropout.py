"""Dropout that draws its mask faster than torch's on a CPU (N. Srivastava et al., Dropout, JMLR 2014)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch._subclasses.fake_tensor import FakeTensor

from engine.training.kernels.replacement import Function, ModuleSite

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
        return hidden * mask.to(hidden.dtype).mul_(scale)

    def applies_to(self, hidden: torch.Tensor) -> bool:
        """Return whether the fast mask is used for `hidden`, rather than torch's own dropout."""
        return self.training and 0 < self.p < 1 and hidden.device.type == "cpu" and not torch.compiler.is_compiling()

    def draw_mask(self, hidden: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Return (mask, scale): the mask, int16 of the shape of `hidden`, is 1 where it is kept, else 0."""
        kept_levels = min(LEVELS, max(1, round((1 - self.p) * LEVELS)))
        # In place, as converting bools to numbers takes ten times as long.
        mask = _random_levels(hidden).view(hidden.shape).lt_(kept_levels - LEVELS // 2)
        return mask, LEVELS / kept_levels


def _random_levels(hidden: torch.Tensor) -> torch.Tensor:
    """Return random numbers, int16 [numel of `hidden`]; in a trace, which has no numbers, as much memory."""
    if isinstance(hidden, FakeTensor):
        return hidden.new_empty(hidden.numel(), dtype=torch.int16)
    seed = int(torch.randint(2**63 - 1, ()))
    # int16 [numel rounded up to a multiple of 4]
    numbers = torch.from_numpy(np.random.PCG64DXSM(seed).random_raw(-(-hidden.numel() // 4))).view(torch.int16)
    return numbers[: hidden.numel()]


def dropout_sites(model: torch.nn.Module) -> list[DropoutSite]:
    """Return torch's dropouts in training among the LoRA layers of `model`, which may be `FastDropout`."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    return [
        DropoutSite(layer.lora_dropout, name)
        for layer in layers
        for name, module in layer.lora_dropout.items()
        if type(module) is torch.nn.Dropout and module.training
    ]


class DropoutSite(ModuleSite):
    """A dropout of a LoRA layer; where neither of the two masks has a zero, the results are the same."""

    tolerance = 1e-3  # the keep probability is rounded

    def __init__(self, modules: torch.nn.ModuleDict, name: str) -> None:
        self._modules, self._name = modules, name
        dropout: Any = modules[name]
        self._fast = FastDropout(dropout.p)
        super().__init__("dropout", dropout, lambda _: self._fast.forward)

    @property
    def alike(self) -> Hashable:
        return ("dropout", self.module.p)

    def install(self, function: Function) -> None:
        if function == self.replacement:
            self._modules[self._name] = self._fast
        else:
            super().install(function)

    def restore(self) -> None:
        super().restore()
        self._modules[self._name] = self.module

    def comparable(self, own: torch.Tensor, ours: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        in_both = (own != 0) & (ours != 0)
        return own[in_both], ours[in_both]

"""The biases of a base model under an adapter that trained them: peft puts the adapter's in their place for good."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class BaseBiases:
    """A copy of the biases of a base model, made before an adapter is loaded."""

    def __init__(self, base: torch.nn.Module) -> None:
        named = [(name, parameter) for name, parameter in base.named_parameters() if name.endswith("bias")]
        self._copies = [(parameter, parameter.detach().clone()) for _, parameter in named]

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, copy in self._copies:
            now = parameter.detach().clone()
            parameter.copy_(copy)
            copy.copy_(now)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model use the base's own biases within the block."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()


@contextmanager
def without_warning_of_biases() -> Iterator[None]:
    """Keep peft from warning that a base without its adapter has other biases, as `BaseBiases` puts its own back."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Careful, disabling adapter layers with bias", UserWarning)
        yield

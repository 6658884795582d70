"""The gate of feed-forward layers on a CPU, and with torch's operations in the place of kernels that need a GPU."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from engine.training.kernels import swiglu
from engine.training.kernels.swiglu import swiglu_sites
from tests.support.passes import (
    FAMILIES,
    SMALL,
    TARGETS,
    adapted,
    gradients_of,
    plain_nll,
    relative_error,
    replace_operation,
    rows_of,
)


def gate(one: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return functional.silu(one) * up


def gradients(one: torch.Tensor, up: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sigmoid = one.sigmoid()
    return gradient * up * sigmoid * (1 + one * (1 - sigmoid)), gradient * one * sigmoid


@pytest.mark.parametrize("in_place_of_a_gpu", [False, True])
def test_loss_and_gradients_are_the_models_own(in_place_of_a_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_place_of_a_gpu:
        monkeypatch.setattr(swiglu, "_kernels", lambda _: (gate, gradients))
    rows = rows_of(31, 12)
    original, model = adapted(FAMILIES["llama"]), adapted(FAMILIES["llama"])
    assert replace_operation(swiglu_sites, model) == SMALL["num_hidden_layers"]
    theirs, ours = plain_nll(original, rows), plain_nll(model, rows)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert relative_error(gradients_of(model, ours), gradients_of(original, theirs)) < 1e-5


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_gate_of_another_kind_is_left_alone(family: str) -> None:
    assert replace_operation(swiglu_sites, adapted(FAMILIES[family], TARGETS.get(family, "all-linear"))) == 0


def test_kernel_that_cannot_be_built_or_is_wrong_in_backward_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(_: str) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(swiglu, "_kernels", no_compiler)
    assert replace_operation(swiglu_sites, adapted(FAMILIES["llama"])) == 0
    monkeypatch.setattr(swiglu, "_kernels", lambda _: (gate, lambda one, up, gradient: (gradient, gradient)))
    assert replace_operation(swiglu_sites, adapted(FAMILIES["llama"])) == 0
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "feed-forward layers: the model's own code is used, as ours fails (no compiler)"
    assert second.startswith("feed-forward layers: the model's own code is used, as ours differs by")

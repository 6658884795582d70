"""What a device computes natively, and the warning where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.runs.events import Warned
from engine.training.runtime import device
from tests.support.rounds_to_train import make_run, train_here


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_without_instructions_for_it_is_warned_of(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(device, "_multiplies_bfloat16", lambda: native)
    run = make_run(tmp_path / "run", tiny_model, model__dtype="bfloat16", train__max_steps=1, train__sample_tokens=0)
    warnings = [event.message for event in train_here(run) if isinstance(event, Warned)]
    wanted = f"model.dtype is bfloat16, for which {device.device_name(torch.device('cpu'))} has no instructions"
    assert any(warning.startswith(wanted) for warning in warnings) is not native


def test_other_dtypes_are_native_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_multiplies_bfloat16", lambda: False)
    assert not device.emulates(torch.float32, torch.device("cpu"))
    assert not device.emulates(torch.bfloat16, torch.device("mps"))

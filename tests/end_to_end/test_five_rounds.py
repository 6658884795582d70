"""The reference's five rounds, trained through the app on a model and data that take seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.presets import embedded_data
from engine.spec.round import Status
from scripts.five_rounds import ROUNDS
from tests.support.processes import ROOT

ROWS = 60  # fewer than the preset has that the first round starts from
COMPARED = (
    "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "save_strategy",
)  # fmt: skip


@pytest.mark.long
def test_rounds_are_those_of_the_reference(tmp_path: Path) -> None:
    """Its settings are those of the rounds that ship with loratui, its warm-ups the same shares of the steps."""
    workspace, data = tmp_path / "workspace", tmp_path / "rows.jsonl"
    data.write_text("".join(embedded_data().read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]))
    command = [
        "-m",
        "scripts.five_rounds",
        "--model",
        "embedded:nano",
        "--data",
        str(data),
        "--set",
        "data.max_length=64",
        str(workspace),
    ]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command], cwd=ROOT, env=variables, check=True, timeout=900)
    rounds = Cockpit(Workspace(workspace)).store.rounds()
    shipped = json.loads((ROOT / "experiments.json").read_bytes())["rounds"].values()
    assert len(rounds) == len(shipped) == 5
    assert {round_.spec.data.samples for round_ in rounds} == {None}
    for number, (ours, theirs) in enumerate(zip(rounds, shipped, strict=True), start=1):
        train, lora = (json.loads(msgspec.json.encode(part)) for part in (ours.spec.train, ours.spec.lora))
        assert {key: train[key] for key in COMPARED} == {key: theirs["spec"]["train"][key] for key in COMPARED}
        assert {key: lora[key] for key in theirs["spec"]["lora"]} == theirs["spec"]["lora"]
        assert ours.spec.train.warmup_steps == pytest.approx(theirs["plan"]["warmup_share"], abs=1e-4)
        assert ours.status is Status.FINISHED and ours.result.perplexity is not None
        assert (ours.parent, ours.note) == (number - 1 or None, ROUNDS[number - 1].note)

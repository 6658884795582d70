"""A round of the embedded model, trained twice by the real command line, runner and engine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.spec.presets import embedded_data, embedded_model
from tests.support.processes import end_processes_of, processes_of
from tests.support.waiting import await_true

PROGRAM = "import sys; from tui.cli.main import main; sys.exit(main())"
QUICK = ("--preset", "nano", "--set", "train.num_train_epochs=0.1", "--set", "train.sample_tokens=0")


def loratui(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, *words],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(300)
def test_round_of_the_embedded_model_is_reproduced_to_the_last_bit(tmp_path: Path) -> None:
    try:
        assert loratui(tmp_path, "run", *QUICK).returncode == 0
        done = loratui(tmp_path, "reproduce", "1", "--json")
        await_true(lambda: not processes_of(tmp_path), "the runner's end")
    finally:
        end_processes_of(tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert (found["reproduces"], found["round"], found["verdict"], found["origins"]) == (1, 2, "identical", [])
    assert (found["steps"], found["evaluations"]) == (7, 2)
    first, second = (json.loads(loratui(tmp_path, "show", number, "--json").stdout) for number in "12")
    assert first["result"]["eval_loss"] == second["result"]["eval_loss"] is not None
    assert second["parent"] == 1
    origin = first["provenance"]
    weights = hashlib.sha256((embedded_model() / "model.safetensors").read_bytes()).hexdigest()
    assert origin["weights"] == hashlib.sha256(f"model.safetensors {weights}".encode()).hexdigest()
    assert origin["data"] == hashlib.sha256(embedded_data().read_bytes()).hexdigest()
    adapters = [tmp_path / item["result"]["adapter_dir"] / "adapter_model.safetensors" for item in (first, second)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.files.paths import Workspace
from engine.system import doctor
from engine.system.doctor import Finding, examine
from engine.system.telemetry import GpuSample

Answers = dict[str, Any]
GPU = {"torch": "2.11", "device": "cuda", "name": "Tesla T4", "dtype": "float16"}
CPU = {"torch": "2.11", "device": "cpu", "name": "x86_64", "dtype": "float32"}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """The answers of other programs: output, exit code and output, or an error."""
    answers: Answers = {"engine.training.runtime.device": json.dumps(GPU), "loginctl": "yes\n"}

    def ask(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        answer = answers[command[0] if command[0] == "loginctl" else command[-1]]
        if isinstance(answer, Exception):
            raise answer
        code, output = answer if isinstance(answer, tuple) else (0, answer)
        return subprocess.CompletedProcess(command, code, output if options.get("text") else output.encode(), "")

    monkeypatch.setattr("engine.system.doctor.subprocess.run", ask)
    return answers


def finding(name: str, directory: Path) -> Finding:
    (match,) = (finding for finding in examine(Workspace(directory)) if finding.name == name)
    return match


def test_everything_is_examined(answers: Answers, tmp_path: Path) -> None:
    names = [finding.name for finding in examine(Workspace(tmp_path))]
    assert {"Python", "torch", "device", "NVML", "terminal", "disk", "lingering", "transformers", "peft"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("engine_sees", "advised"), [(GPU, False), (CPU, True)])
def test_device_is_what_the_engine_sees(
    answers: Answers, tmp_path: Path, engine_sees: dict[str, str], advised: bool
) -> None:
    answers["engine.training.runtime.device"] = json.dumps(engine_sees)
    device = finding("device", tmp_path)
    assert device.value == f"{engine_sees['device']}: {engine_sees['name']}, dtype auto is {engine_sees['dtype']}"
    assert (device.advice is not None) is advised
    assert finding("torch", tmp_path) == Finding("torch", "2.11")


@pytest.mark.parametrize("answer", [(1, ""), (0, "[]"), OSError(), subprocess.TimeoutExpired("x", 1.0)])
def test_torch_that_does_not_start_is_reported(answers: Answers, tmp_path: Path, answer: object) -> None:
    answers["engine.training.runtime.device"] = answer
    assert finding("torch", tmp_path).advice == "install it again: make install"


@pytest.mark.parametrize(
    ("answer", "advised"),
    [("yes\n", False), ("no\n", True), ((1, ""), False), (FileNotFoundError(), False)],
)
def test_lingering_is_advised_where_logging_out_ends_training(
    answers: Answers, tmp_path: Path, answer: object, advised: bool
) -> None:
    answers["loginctl"] = answer
    assert (finding("lingering", tmp_path).advice is not None) is advised


@pytest.mark.parametrize(("throttling", "advised"), [(None, False), ((), False), (("thermal", "power cap"), True)])
def test_driver_and_what_slows_a_card_down_are_shown(
    answers: Answers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    throttling: tuple[str, ...] | None,
    advised: bool,
) -> None:
    card = GpuSample(0, "T4", 1, 15 * 2**30, 0, 40, 20.0, throttling=throttling, driver="550.54")
    monkeypatch.setattr(doctor, "sample_gpus", lambda: ((card,), ""))
    nvml = finding("NVML", tmp_path)
    assert nvml.value == "T4 with 15.0 GiB; driver 550.54"
    assert ("GPU 0 is slowed down by thermal and power cap" in (nvml.advice or "")) is advised


def test_full_disk_is_reported(answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finding("disk", tmp_path).value.endswith(f"free at {tmp_path}")
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", 2**60)
    assert finding("disk", tmp_path).advice is not None

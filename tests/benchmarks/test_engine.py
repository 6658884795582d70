"""The comparison of the engine with its peers, at its smallest."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch.nn import functional
from transformers import AutoTokenizer

from benchmarks.comparison import main
from benchmarks.contenders.task import load_rows, lora_config
from benchmarks.flops import counter
from benchmarks.measuring import BenchmarkError
from benchmarks.ruler import fewest_flops, load_base, row_losses
from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import Evaluated, Step
from tests.support.processes import ROOT
from tests.support.rounds_to_train import POSITIONS, make_rows, make_run, spec_of, write_rows

ROWS = 40
SETTINGS = (f"data.max_length={POSITIONS}", "train.learning_rate=1e-2", "lora.lora_dropout=0")


Compare = Callable[[str], tuple[dict[str, Any], str]]


@pytest.fixture
def compare(tiny_model: Path, tmp_path: Path, forked_workers: None, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Compare contenders by the benchmark, whose processes are forked; return what it writes and prints."""

    def run(contenders: str) -> tuple[dict[str, Any], str]:
        data = write_rows(tmp_path / "rows.jsonl", make_rows(ROWS))
        report = tmp_path / "report.json"
        handler = signal.getsignal(signal.SIGTERM)
        try:
            code = main([
                "--model", str(tiny_model), "--data", str(data), "--rows", str(ROWS), "--repeats", "1",
                "--device", "cpu", "--threads", "1", "--contenders", contenders, "--json", str(report),
                "--keep", str(tmp_path / "kept"), *(f"--set={setting}" for setting in SETTINGS),
            ])  # fmt: skip
        finally:
            signal.signal(signal.SIGTERM, handler)
        printed, errors = capsys.readouterr()
        assert code == 0, errors
        return json.loads(report.read_text()), printed

    return run


def test_script_is_run_from_the_repository() -> None:
    command = [sys.executable, "benchmarks/engine.py", "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--contenders" in printed


def test_fewest_operations_are_those_of_each_row_counted(tiny_model: Path, tmp_path: Path) -> None:
    spec = spec_of(make_run(tmp_path / "run", tiny_model))
    rows, _ = load_rows(spec, AutoTokenizer.from_pretrained(tiny_model))
    model = get_peft_model(load_base(spec, torch.float32, torch.device("cpu")), lora_config(spec)).train()
    with counter:
        for loss, _ in row_losses(model, rows, torch.device("cpu")):
            torch.autograd.backward(loss)
    counted = counter.get_total_flops()  # before another count begins at nothing
    assert fewest_flops(spec, rows) == counted > 0


@pytest.mark.long
def test_engine_and_reference_are_measured_on_the_same_rows(compare: Compare, tmp_path: Path) -> None:
    report, printed = compare("reference,loratui")
    events = read_events(RunDir(tmp_path / "kept" / "loratui-run1").events)
    steps = [event for event in events if isinstance(event, Step)]
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    ruler = report["ruler"]
    assert ruler["tokens"] == steps[-1].trained_tokens
    assert ruler["eval_tokens"] == evaluated[-1].supervised_tokens
    assert ruler["base_loss"] == pytest.approx(evaluated[0].eval_loss, rel=1e-4)
    assert report["losses"]["loratui"] == [pytest.approx(evaluated[-1].eval_loss, rel=1e-4)]
    assert report["losses"]["reference"][0] < ruler["base_loss"]
    for name in ("reference", "loratui"):
        (figures,) = report["runs"][name]
        assert len(figures["step_seconds"]) == len(steps) == 2
        assert sum(figures["step_seconds"]) <= figures["evaluated_seconds"] < figures["wall_seconds"]
        assert figures["peak_memory_bytes"] > 1 << 26
    # 36 rows padded to 160, against the tokens they have, and each layer's forward computed twice
    padding = 36 * POSITIONS / ruler["tokens"]
    assert report["flops"]["reference"] > padding * ruler["fewest_flops"]
    assert report["flops"]["loratui"] >= ruler["fewest_flops"]
    assert [line.split(":")[0] in ("met", "NOT met") for line in printed.splitlines()[-3:]] == [True] * 3


def test_contender_that_cannot_be_counted_loses_nothing_that_was_timed(
    compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_contender(*_: object) -> int:
        raise BenchmarkError("it ended with -9")

    monkeypatch.setattr("benchmarks.comparison.count_contender", count_contender)
    report, printed = compare("loratui")
    assert report["flops"] == {} and len(report["runs"]["loratui"]) == 1
    assert "eval loss" in printed


@pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed: pip install -e '.[bench]'")
def test_trl_trains_the_same_rows(compare: Compare) -> None:
    report, _ = compare("trl")
    assert len(report["runs"]["trl"][0]["step_seconds"]) == 2
    assert report["losses"]["trl"][0] < report["ruler"]["base_loss"]


def test_attention_on_the_cpu_is_counted_as_its_matrix_products() -> None:
    batch, heads, length, size = 2, 3, 16, 8
    product = 2 * batch * heads * length * length * size  # queries with keys, or weights with values
    query, key, value = (torch.randn(batch, heads, length, size, requires_grad=True) for _ in range(3))
    with counter:
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        assert counter.get_total_flops() == 2 * product
        attended.sum().backward()
        assert counter.get_total_flops() == (2 + 5) * product  # the first product is computed again

"""A round that fails says why once, in one sentence, and its process exits with 1."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import Failed, Finished, Started
from engine.training import __main__ as engine
from tests.support.rounds_to_train import (
    DIRECT,
    fail_here,
    make_rows,
    make_run,
    spec_of,
    start_cold_engine,
    train_here,
    write_rows,
)

pytestmark = pytest.mark.usefixtures("no_engine_is_left")

SECONDS = 120


def the_failure_of(run: RunDir) -> str:
    """Return the sentence of the only failure, which is the last event."""
    events = read_events(run.events)
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert events[-1] is failed and isinstance(events[0], Started)
    assert failed.message and "\n" not in failed.message
    assert not run.adapter.exists()
    return failed.message


def test_cut_that_leaves_no_response(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", tiny_model, data__max_length=8)
    fail_here(run, monkeypatch)
    assert the_failure_of(run) == (
        "data.max_length is 8 tokens: cut there, 0 of 40 rows have a supervised token, and at least 2 are needed"
    )


def test_line_that_is_not_json_is_named(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    rows = write_rows(Path(spec_of(run).data.path), make_rows(3))
    with rows.open("a") as file:
        file.write('{"instruction": "Say it", "outp\n')
    fail_here(run, monkeypatch)
    assert the_failure_of(run) == f"{rows}, line 4, is not JSON: Input data was truncated"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_learning_rate_that_is_far_too_high(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """The values are so large that sums of squares overflow on any CPU; the norms of a model absorb smaller ones."""
    run = make_run(tmp_path / "run", tiny_model, train__learning_rate=10.0, lora__lora_alpha=10**18, model__dtype=dtype)
    fail_here(run, monkeypatch)
    message = the_failure_of(run)
    assert "is not finite at step" in message and "step 1," not in message
    assert "train.learning_rate 10 is probably too high; try a tenth of it, or a longer warm-up" in message


@pytest.mark.parametrize(
    ("dtype", "overflow"), [("float32", ""), ("bfloat16", ", or overflow in bfloat16: try model.dtype float32")]
)
def test_nan_weights_are_not_blamed_on_the_learning_rate(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, overflow: str
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    run = make_run(tmp_path / "run", model, model__dtype=dtype)
    fail_here(run, monkeypatch)
    assert the_failure_of(run) == (
        f"loss is not finite at step 1, before any update: the weights of model.path '{model}' are probably damaged: "
        f"copy or download the model again{overflow}"
    )


def test_hub_dataset_that_cannot_be_reached(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, data__path="nobody/no-rows")
    started = start_cold_engine(run, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "home"), **DIRECT)
    assert started.wait(SECONDS) == 1
    assert the_failure_of(run) == (
        "data.path is 'nobody/no-rows': the Hugging Face hub cannot be reached, and it is not in the cache: "
        "check the network, or give a local file"
    )
    log = run.log.read_text()
    assert "Traceback" in log
    assert "Retrying" not in log  # it would take some 20 s for each file


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full at {}: free some space and resume"),
        (errno.EDQUOT, "the disk quota is used up at {}: free some space and resume"),
        (errno.EFBIG, "a file exceeds the size limit at {}: raise `ulimit -f` and resume"),
    ],
)
def test_disk_error_is_reported_with_the_way_out(tmp_path: Path, number: int, words: str) -> None:
    run, other = RunDir(tmp_path), tmp_path / "elsewhere"
    refusals: list[tuple[Exception, Path]] = [
        (SafetensorError(f"Error while serializing: I/O error: No more (os error {number})"), run.path),
        (OSError(number, "No more"), run.path),
        (OSError(number, "No more", str(other)), other),
    ]
    for error, path in refusals:
        assert engine.failure_message(error, run) == words.format(path)


@pytest.mark.parametrize("text", ["", "\n", "first\nsecond\n", "\n  first  \n"])
def test_unexpected_error_is_reported_in_one_line(tmp_path: Path, text: str) -> None:
    message = engine.failure_message(RuntimeError(text), RunDir(tmp_path))
    assert message == ("RuntimeError: first" if "first" in text else "RuntimeError")


def test_round_that_failed_can_be_repaired_and_trained(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    rows = Path(spec_of(run).data.path)
    content = rows.read_text()
    rows.write_text("not rows")
    fail_here(run, monkeypatch)
    rows.write_text(content)
    assert isinstance(train_here(run, resume=True)[-1], Finished)

"""The engine as the runner starts it: command line, exit codes, signals and files in the run directory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from engine.files.paths import RunDir
from engine.runner.engine_process import launch
from engine.runs.event_log import read_events
from engine.runs.events import (
    AnyEvent,
    Failed,
    Finished,
    Interrupted,
    Phase,
    Prepared,
    Started,
    Stopped,
)
from engine.system.locks import is_locked
from engine.system.process import send_signal
from tests.support.forking import run_forked
from tests.support.processes import ROOT
from tests.support.rounds_to_train import (
    DIRECT,
    ENGINE,
    figures_of,
    make_run,
    start_cold_engine,
    start_engine,
    steps_of,
)
from tests.support.waiting import await_true

pytestmark = pytest.mark.usefixtures("no_engine_is_left")

SECONDS = 120


def await_steps(run: RunDir, count: int) -> None:
    await_true(lambda: len(steps_of(read_events(run.events))) >= count, f"{count} steps")


def kinds_of(events: list[AnyEvent]) -> list[str]:
    """Return the names of the events, without repetitions in a row."""
    names = [event.name if isinstance(event, Phase) else type(event).__name__ for event in events]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


def test_round_is_trained_to_the_end(
    reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "runs" / "0007-abc", tiny_model)
    assert start_cold_engine(run).wait(SECONDS) == 0
    events = read_events(run.events)
    assert kinds_of(events) == [
        *("Started", "loading", "tokenising", "Prepared"),
        *("evaluating base", "Evaluated", "sampling", "Sampled", "Provenance", "training"),
        *("Step", "Saved", "Step", "evaluating", "Evaluated", "sampling", "Sampled", "training"),
        *("Step", "Saved", "Step", "Saved", "evaluating", "Evaluated", "sampling", "Sampled", "training"),
        *("Step", "Saved", "evaluating", "Evaluated", "sampling", "Sampled", "Saved", "Finished"),
    ]
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.result.adapter_dir == "runs/0007-abc/adapter"
    assert figures_of(events) == figures_of(reference[1])  # a process of its own makes no difference
    log = run.log.read_text()
    assert "step 5/20" in log and "step 20/20" in log
    assert not any(text in log for text in ("Traceback", "Warning: ", "\r"))


def test_run_directory_holds_what_it_should_and_no_pickle(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    run = reference[0]
    assert {path.name for path in run.path.iterdir()} - {"engine.lock"} == {
        *("spec.json", "rows.jsonl", "events.jsonl", "adapter", "checkpoints", "scores")
    }
    assert {path.name for path in run.checkpoints.iterdir()} == {
        *("checkpoint-6", "checkpoint-12", "checkpoint-18", "checkpoint-20")
    }
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {
        path.name for path in run.adapter.iterdir()
    }
    files = [path for path in run.path.rglob("*") if path.is_file() and path != run.steps]
    assert not [path for path in files if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".npz", ".ckpt"}]
    assert not [path for path in files if b"ctorch._utils" in path.read_bytes() or path.read_bytes()[:2] == b"PK"]


@pytest.mark.parametrize("process", ["__main__", "workers.preview", "workers.score", "workers.chat"])
def test_heartbeat_starts_before_heavy_imports(process: str) -> None:
    code = f"import sys, engine.training.{process}; print({{'torch', 'transformers', 'numpy'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize(
    ("signum", "ending", "message"),
    [
        (signal.SIGINT, Stopped, "stopped after step {} of 2000"),
        (signal.SIGTERM, Interrupted, "interrupted by the machine after step {} of 2000: resume it"),
        (signal.SIGUSR1, Interrupted, "interrupted by the machine after step {} of 2000: resume it"),
    ],
)
def test_signal_ends_a_run_after_its_step_with_all_saved(
    tiny_model: Path, tmp_path: Path, signum: signal.Signals, ending: type[Stopped | Interrupted], message: str
) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=2000 / 9, train__save_strategy="no")
    engine = start_engine(run)
    await_steps(run, 3)
    engine.send_signal(signal.SIGHUP)
    await_steps(run, 6)
    engine.send_signal(signum)
    assert engine.wait(SECONDS) == 0
    events = read_events(run.events)
    last, step = events[-1], steps_of(events)[-1].step
    assert isinstance(last, ending)
    assert (last.step, last.message) == (step, message.format(step))
    assert [path.name for path in run.checkpoints.iterdir()] == [f"checkpoint-{step}"]
    assert (run.adapter / "adapter_model.safetensors").is_file()

    engine = start_engine(run, "--resume")
    await_true(lambda: steps_of(read_events(run.events))[-1].step >= step + 2, "resumed steps")
    engine.send_signal(signum)
    assert engine.wait(SECONDS) == 0
    again = read_events(run.events)[len(events) :]
    assert isinstance(again[0], Started) and again[0].resumed_from == step
    assert steps_of(again)[0].step == step + 1


@pytest.mark.parametrize("awaited", [Started, Prepared])
def test_signal_ends_a_run_before_its_first_step(tiny_model: Path, tmp_path: Path, awaited: type[AnyEvent]) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=2000 / 9)
    engine = start_engine(run)
    await_true(lambda: any(isinstance(event, awaited) for event in read_events(run.events)), "its first events")
    engine.send_signal(signal.SIGINT)
    assert engine.wait(SECONDS) == 0
    last = read_events(run.events)[-1]
    assert isinstance(last, Stopped)
    if last.step == 0:
        assert (last.step, last.message) == (0, "stopped before its first step")
        assert not run.adapter.exists() and not run.checkpoints.exists()


def test_engine_holds_the_inherited_lock_sends_heartbeats_and_reports_its_phase(
    tiny_model: Path, tmp_path: Path, forked_workers: None
) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=2000 / 9)
    engine = launch(run, [*ENGINE, str(run.path)], gpu=None)
    assert engine is not None
    assert launch(run, ["false"], gpu=None) is None
    await_steps(run, 2)
    assert is_locked(run.lock)
    os.utime(run.heartbeat, (1, 1))
    await_true(lambda: run.heartbeat.stat().st_mtime > 1, "another beat")
    process = engine.process
    assert process is not None and send_signal(process, signal.SIGUSR2)
    await_true(lambda: "train_locked" in run.log.read_text(), "the stacks in the log")
    count = len(steps_of(read_events(run.events)))
    await_steps(run, count + 2)
    engine.stop()
    await_true(lambda: not engine.is_running(), "the engine's end")
    assert isinstance(read_events(run.events)[-1], Stopped)
    assert engine.exit_code == 0
    assert not is_locked(run.lock)


def test_second_engine_does_not_disturb_the_first(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    with FileLock(run.lock):
        assert start_engine(run).wait(SECONDS) == 3
    assert not run.events.exists()
    assert run.log.read_text() == f"{run.path} is already being trained by another engine\n"


@pytest.mark.long
def test_hub_that_cannot_be_reached_is_reported_at_once(tmp_path: Path) -> None:
    """By default the libraries retry every file for 23 s."""
    run = make_run(tmp_path / "run", Path("nobody/no-model"))
    engine = start_cold_engine(run, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "home"), **DIRECT)
    assert engine.wait(SECONDS) == 1
    last = read_events(run.events)[-1]
    assert isinstance(last, Failed)
    assert "model.path is 'nobody/no-model'" in last.message
    assert "hub cannot be reached" in last.message and "check the network, or give a directory" in last.message
    log = run.log.read_text()
    assert "Retrying" not in log
    assert "Traceback" in log


@pytest.mark.long
def test_signal_ends_a_download_that_hangs(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Path("nobody/no-model"))
    with socket.create_server(("127.0.0.1", 0)) as hub:
        hub.settimeout(SECONDS)
        endpoint = f"http://127.0.0.1:{hub.getsockname()[1]}"
        engine = start_cold_engine(run, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path / "home"), **DIRECT)
        connections = [hub.accept()[0] for _ in ("whether it is there", "the first file")]
        engine.send_signal(signal.SIGINT)
        assert engine.wait(SECONDS) == 0
        for connection in connections:
            connection.close()
    last = read_events(run.events)[-1]
    assert isinstance(last, Stopped)
    assert (last.step, last.message) == (0, "stopped before its first step")
    assert "Retrying" not in run.log.read_text()


def test_disk_that_refuses_even_events_is_a_failure(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    engine = run_forked([*ENGINE, str(run.path)], file_bytes=300)  # two events, and not the one that says so
    assert engine.returncode == 4
    assert "OSError: [Errno 27] File too large" in engine.stderr
    assert [type(event) for event in read_events(run.events)][:2] == [Started, Phase]


def test_directory_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert start_engine(run).wait(SECONDS) == 1
    assert "this is not a run directory" in run.log.read_text()
    assert not run.events.exists()


@pytest.mark.parametrize("optim", ["adamw_8bit", "lion_32bit"])
def test_optimizer_of_another_package_is_imported(tiny_model: Path, tmp_path: Path, optim: str) -> None:
    """The engine keeps bitsandbytes out where nothing needs it."""
    run = make_run(tmp_path / "run", tiny_model, train__optim=optim, train__max_steps=2)
    assert start_cold_engine(run).wait(SECONDS) == 0
    assert isinstance(read_events(run.events)[-1], Finished)

"""Data and run directories for a tiny model, trained by a process, in this process, or here until it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from engine.files.paths import RunDir
from engine.runs.event_log import EventWriter, read_events
from engine.runs.events import AnyEvent, Failed, Finished, Prepared, Started, Step, Warned
from engine.runs.spec_file import read_spec
from engine.spec.fields import build_spec
from engine.spec.schema import Spec
from engine.training import __main__ as engine
from engine.training.data.tokenize import Example
from engine.training.loop.recorder import Recorder
from engine.training.loop.setup import prepare
from engine.training.loop.state import Training
from engine.training.loop.stop import StopSignal
from tests.support.forking import ForkedProcess
from tests.support.processes import ROOT

POSITIONS = 160
OBJECTS = ("lamp", "bridge", "river", "garden", "window", "letter", "mountain", "kettle")
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ENGINE = [sys.executable, "-P", "-m", "engine.training"]
DIRECT = {name: "" for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE")}  # no proxy


def make_rows(count: int = 40) -> list[dict[str, Any]]:
    """Return Alpaca rows of different lengths; every third has an input."""
    return [
        {
            "instruction": f"Say {WORDS[n % 9]} times what a {OBJECTS[n % 8]} is",
            "input": f"the {OBJECTS[(n + 3) % 8]}" if n % 3 == 0 else "",
            "output": " and ".join([f"a {OBJECTS[n % 8]} is a {OBJECTS[n % 8]}"] * (1 + n % 4)),
        }
        for n in range(count)
    ]


def make_example(tokens: Sequence[int], supervised_from: int) -> Example:
    """Return an example whose tokens from `supervised_from`, at least 1, on are supervised."""
    supervised = torch.arange(len(tokens)) >= max(1, supervised_from)
    return Example(torch.tensor(tokens, dtype=torch.int32), supervised)


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def make_run(directory: Path, model: Path, **settings: object) -> RunDir:
    """Make a run directory whose spec trains `model` for 20 steps; settings are dotted keys with `__` for the dot."""
    directory.mkdir(parents=True)
    rows = write_rows(directory / "rows.jsonl", make_rows())
    values: dict[str, Any] = {
        "model.path": str(model),
        "model.dtype": "float32",  # so that figures can be compared to the last digits
        "data.path": str(rows),
        "data.max_length": POSITIONS,
        "lora.r": 4,
        "lora.lora_dropout": 0.1,
        "lora.target_modules": "all-linear",
        "train.learning_rate": 1e-2,
        "train.per_device_train_batch_size": 2,
        "train.gradient_accumulation_steps": 2,
        "train.num_train_epochs": 2.2,
        "train.warmup_steps": 2.0,
        "train.logging_steps": 5,
        "train.save_strategy": "steps",
        "train.save_steps": 6,
        "train.sample_tokens": 4,  # ten times as many take as long as the steps
    }
    spec = build_spec(values | {key.replace("__", "."): value for key, value in settings.items()})
    run = RunDir(directory)
    run.spec.write_bytes(msgspec.json.encode({"id": directory.name, "number": 1, "spec": spec}))
    return run


def spec_of(run: RunDir) -> Spec:
    return read_spec(run)


def start_engine(run: RunDir, *options: str) -> subprocess.Popen[bytes]:
    """Start an engine by a fork of a process that has imported what it needs."""
    return _start(ForkedProcess, run, *options)


def start_cold_engine(run: RunDir, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start the engine as the runner does, for tests of its command line or of what its imports read."""
    return _start(subprocess.Popen, run, *options, **environment)


def _start(start: type[subprocess.Popen[Any]], run: RunDir, *options: str, **environment: str) -> subprocess.Popen[Any]:
    with run.log.open("ab") as log:
        return start(
            [*ENGINE, str(run.path), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            # One thread: a model this small gains nothing from a second, and loses much on a busy machine.
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        )


def train_here(run: RunDir, *, resume: bool = False, stop_after: int | None = None) -> list[AnyEvent]:
    """Train in this process, with a stop once step `stop_after` is recorded; return the events of this run."""
    before = len(read_events(run.events))
    writer = EventWriter(run.events)
    try:
        with as_in_the_engine():
            engine.start(run, _Stopper(writer, stop_after), resume)
    finally:
        writer.close()
    return read_events(run.events)[before:]


@contextmanager
def as_in_the_engine() -> Iterator[None]:
    """Restore afterwards the settings of this process that the engine changes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in `start_engine`, so that the figures are the same
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    torch.set_num_threads(threads)


class _Stopper(Recorder):
    """A recorder that requests a person's stop after a step."""

    def __init__(self, writer: EventWriter, stop_after: int | None) -> None:
        super().__init__(writer, StopSignal())
        self._stop_after = stop_after

    def append(self, event: AnyEvent) -> None:
        super().append(event)
        if isinstance(event, Step) and event.step == self._stop_after:
            self.stop.requested = self.stop.by_person = True


def fail_here(run: RunDir, monkeypatch: pytest.MonkeyPatch, *, resume: bool = False) -> str:
    """Train in this process a round that fails; return its sentence."""
    monkeypatch.setattr(StopSignal, "listen", lambda self: None)  # pytest keeps its own signals
    with as_in_the_engine():
        assert engine.train_locked(run, resume) == 1
    last = read_events(run.events)[-1]
    assert isinstance(last, Failed)
    assert "\n" not in last.message
    return last.message


def steps_of(events: list[AnyEvent]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def figures_of(events: list[AnyEvent], after: int = 0) -> list[tuple[int, float | None, float | None, float]]:
    """Return (step, loss, gradient norm, learning rate) of each step, which are equal bit for bit in equal rounds."""
    return [(event.step, event.loss, event.grad_norm, event.learning_rate) for event in steps_of(events)[after:]]


def resumed_from(events: list[AnyEvent]) -> int | None:
    return next(event for event in reversed(events) if isinstance(event, Started)).resumed_from


CPU = torch.device("cpu")


def warned_in(events: list[AnyEvent]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def prepared_in(events: list[AnyEvent]) -> Prepared:
    return next(event for event in events if isinstance(event, Prepared))


@contextmanager
def prepared(run: RunDir) -> Iterator[Training]:
    """Prepare the round as it is before its first step."""
    writer = EventWriter(run.path / "other-events.jsonl")
    try:
        with as_in_the_engine():
            yield prepare(spec_of(run), run, Recorder(writer, StopSignal()), CPU)
    finally:
        writer.close()


def assert_resumed_exactly(model: Path, directory: Path, **settings: object) -> None:
    """Train a round in one go, and another that is stopped and resumed: all figures are the same."""
    whole = train_here(make_run(directory / "whole", model, **settings))
    run = make_run(directory / "run", model, **settings)
    halves = train_here(run, stop_after=8) + train_here(run, resume=True)
    assert figures_of(halves) == figures_of(whole)
    first, last = whole[-1], halves[-1]
    assert isinstance(first, Finished) and isinstance(last, Finished)
    assert last.result.eval_loss == first.result.eval_loss

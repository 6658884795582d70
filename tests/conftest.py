"""What tests start from: workspaces, rounds, a tiny spec, and processes that end with the test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings as hypothesis_settings

from engine.api import Cockpit
from engine.files.paths import RunDir, Workspace
from engine.runner.launcher import start_runner
from engine.runs.events import AnyEvent
from engine.spec.fields import build_spec, flatten
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.fake_engine import Script
from tests.fake_runner import RUNNER_COMMAND

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_SECONDS = 60.0  # of which a busy machine may take half to import what an engine needs
LINEAR_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


hypothesis_settings.register_profile("suite", derandomize=True, deadline=None)  # the same examples on every machine
hypothesis_settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="try the faults hundreds of times, and end with a table of them"
    )


def pytest_configure() -> None:
    """Signals as a shell's foreground job has them: what ignores them, such as nohup, would hand that on."""
    os.umask(0o077)  # as our processes have it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def times(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """How often to try something: `times(short, long)`, the second with `--long`."""
    return lambda short, long: long if pytestconfig.getoption("long") else short


def make_spec(**settings: object) -> Spec:
    """A spec with its defaults; settings by dotted key with `__` for the dot: `lora__r=16`."""
    values: dict[str, Any] = {"model.path": "some/model", "data.path": "some/data", "data.samples": 100}
    return build_spec(values | {key.replace("__", "."): value for key, value in settings.items()})


def make_round(number: int = 1, status: Status = Status.FINISHED, *, spec: Spec | None = None, **fields: Any) -> Round:
    """A round as the store holds it; a finished one has a result unless told otherwise."""
    spec = spec or make_spec()
    fields.setdefault("id", f"{number:04d}-00c0ffee")
    fields.setdefault("plan", make_plan(spec, spec.data.samples))
    if status is Status.FINISHED:
        fields.setdefault("result", Result(eval_loss=1.2, perplexity=3.32, train_seconds=421.0))
    return Round(number=number, status=status, spec=spec, **fields)


def give_adapter(workspace: Workspace, round_: Round) -> Round:
    """`round_`, with a run directory in which there is an adapter, as far as can be seen without torch."""
    run = workspace.run_dir(round_.id)
    run.adapter.mkdir(parents=True)
    (run.adapter / "adapter_config.json").write_text("{}")
    return round_


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of half-precision zeros: header length, header, data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(end))


def write_model(directory: Path) -> Path:
    """A directory that looks like a one-layer Llama to everything but torch."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 1}))
    (directory / "tokenizer.json").write_text("{}")
    layer = {f"model.layers.0.block.{name}.weight": [4, 4] for name in LINEAR_MODULES}
    others = {
        "model.embed_tokens.weight": [8, 4],
        "model.layers.0.input_layernorm.weight": [4],
        "lm_head.weight": [8, 4],
    }
    write_safetensors(directory / "model.safetensors", layer | others)
    return directory


def write_rows(file: Path, count: int = 40) -> Path:
    """Alpaca rows, one JSON object per line."""
    rows = [{"instruction": f"Count to {n}.", "input": "", "output": f"Done: {n}."} for n in range(1, count + 1)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_nano_spec(directory: Path, **settings: object) -> Spec:
    """A spec that passes preflight, its tiny model and data written under `directory`; settings as for `make_spec`."""
    directory.mkdir(parents=True, exist_ok=True)
    own = {"model.path": str(write_model(directory / "model")), "data.path": str(write_rows(directory / "rows.jsonl"))}
    values: dict[str, Any] = {
        "data.max_length": 64,
        "train.per_device_train_batch_size": 4,
        "train.gradient_accumulation_steps": 1,
        "train.num_train_epochs": 1.0,
        "train.save_strategy": "steps",
        "train.save_steps": 4,
    }
    return build_spec(own | values | {key.replace("__", "."): value for key, value in settings.items()})


def change_spec(spec: Spec, **settings: object) -> Spec:
    """`spec` with settings as for `make_spec`."""
    return build_spec(flatten(spec) | {key.replace("__", "."): value for key, value in settings.items()})


def damage(path: Path, content: bytes) -> None:
    """Overwrite a file in place, as of a while ago, so that nobody is taken to be still writing it."""
    path.write_bytes(content)
    os.utime(path, (time.time() - 60, time.time() - 60))


def await_rounds(store: RoundStore, condition: Callable[[list[Round]], bool]) -> list[Round]:
    """The rounds as soon as they meet `condition`; fails the test after `DEADLINE_SECONDS`."""
    seen = None
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if (signature := store.signature()) != seen:
            seen = signature
            if condition(rounds := store.rounds()):
                return rounds
        time.sleep(0.01)
    listed = [(round_.number, str(round_.status), round_.message) for round_ in store.rounds()]
    pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s; the rounds are {listed}")


def await_status(store: RoundStore, number: int, status: Status) -> Round:
    """Round `number` as soon as it has `status`."""
    rounds = await_rounds(store, lambda listed: any(item.number == number and item.status is status for item in listed))
    return next(item for item in rounds if item.number == number)


def await_true(condition: Callable[[], bool], what: str) -> None:
    """Return as soon as `condition` holds; fails the test after `DEADLINE_SECONDS`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        time.sleep(0.01)


def is_running(process: psutil.Process) -> bool:
    """Whether a process lives; one that ended and was not yet reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_of(directory: Path) -> list[psutil.Process]:
    """Live processes with a path under `directory` among their arguments: its runners and engines."""
    found = []
    for process in psutil.process_iter():
        try:
            arguments = process.cmdline()
            if is_running(process) and any(str(directory) in word for word in arguments[1:]):
                found.append(process)
        except psutil.Error:
            continue
    return found


def end_processes_of(directory: Path) -> None:
    """Kill what still runs for `directory`, until a look round finds nothing more."""
    while found := processes_of(directory):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.01)


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache, state and configuration directories, for the tests and the processes they start."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory))
        patch.setenv("XDG_STATE_HOME", str(directory / "state"))
        patch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
        yield directory


@pytest.fixture(scope="session", autouse=True)
def colours() -> Iterator[None]:
    """Everything is drawn in the same colours, since Rich keeps a style's codes for those it was drawn in first.

    A screenshot is in 24 bits, so every app is, whatever terminal the tests run in.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLORTERM", "truecolor")
        yield


@pytest.fixture
def empty_directory(tmp_path: Path) -> Iterator[Path]:
    """A workspace directory without a store; what runs in it ends with the test."""
    directory = tmp_path / "workspace"
    directory.mkdir()
    yield directory
    end_processes_of(directory)


@pytest.fixture
def workspace(empty_directory: Path) -> Workspace:
    """A workspace with an empty store."""
    workspace = Workspace(empty_directory)
    RoundStore(workspace).create()
    return workspace


@pytest.fixture
def reference_workspace(empty_directory: Path) -> Workspace:
    """A workspace with the five rounds that ship with loratui."""
    shutil.copy(ROOT / "experiments.json", empty_directory)
    return Workspace(empty_directory)


@pytest.fixture
def store(workspace: Workspace) -> RoundStore:
    """The empty store of `workspace`."""
    return RoundStore(workspace)


@pytest.fixture
def cockpit(workspace: Workspace) -> Cockpit:
    """Operations on `workspace`, with a detached runner that trains by the fake engine."""
    return Cockpit(workspace, start_fake_runner)


def start_fake_runner(workspace: Workspace) -> None:
    """As `start_runner`, with the fake engine in the engine's place."""
    start_runner(workspace, RUNNER_COMMAND)


@pytest.fixture
def idle_cockpit(workspace: Workspace) -> Cockpit:
    """Operations on `workspace` with no runner behind them: what is queued stays queued."""
    return Cockpit(workspace, lambda _: None)


@pytest.fixture
def nano_spec(tmp_path: Path) -> Spec:
    """A spec that passes preflight without the network or the embedded assets."""
    return write_nano_spec(tmp_path / "nano")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], None]:
    """Give the fake engine its script for the rest of the test."""

    def follow(script: Script) -> None:
        for name, value in script.environment().items():
            monkeypatch.setenv(name, value)

    return follow


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of 40,000 parameters that anything can be trained on in a second."""
    from tests.integration.tiny_model import write_model

    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[RunDir, list[AnyEvent]]:
    """A round trained without a break, and its events."""
    from tests.integration.rounds_to_train import make_run, train_here

    run = make_run(tmp_path_factory.mktemp("reference") / "runs" / "0001-c0ffee", tiny_model)
    return run, train_here(run)

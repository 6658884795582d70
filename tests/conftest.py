"""What tests start from: workspaces, rounds, a tiny spec, and processes that end with the test."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from engine.api import Cockpit
from engine.files.paths import RunDir, Workspace
from engine.runs.events import AnyEvent
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from scripts.shipped_rounds import shipped_rounds
from tests.support.fake_engine import Script
from tests.support.forking import popen
from tests.support.processes import end_processes_of, start_fake_runner
from tests.support.rounds import (
    write_nano_spec,
)

TESTS = Path(__file__).parent
# Folders whose tests take long come first, so that no process is left alone with them at the end.
LONGEST_FIRST = ("end_to_end", "benchmarks", "faults", "training", "tui", "engine")
# The same examples on every machine.
hypothesis_settings.register_profile("suite", derandomize=True, deadline=None, max_examples=25)
hypothesis_settings.register_profile("long", derandomize=True, deadline=None, max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="repeat hundreds of times what depends on chance, compile models, and end with a table of the faults",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Signals as a shell's foreground job has them: what ignores them, such as nohup, would hand that on."""
    hypothesis_settings.load_profile("long" if config.getoption("long") else "suite")
    os.umask(0o077)  # as our processes have it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # syrupy counts what it has not seen before as unused
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(TESTS).parts[0], len(order)))
    if not config.getoption("long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs --long"))
        leave_out_cases(config, items)


def leave_out_cases(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep `count` cases, evenly spread, of each test that is marked `sample(count)`, unless a case was asked for."""
    if any("::" in argument for argument in config.args):
        return
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sample"):
            cases[item.nodeid.partition("[")[0]].append(item)
    out: set[pytest.Item] = set()
    for of_one_test in cases.values():
        mark = of_one_test[0].get_closest_marker("sample")
        assert mark is not None
        count = min(mark.args[0], len(of_one_test))
        chosen = {of_one_test[number * len(of_one_test) // count] for number in range(count)}
        out |= set(of_one_test) - chosen
    config.hook.pytest_deselected(items=list(out))
    items[:] = [item for item in items if item not in out]


def pytest_collection_finish() -> None:
    """Look for garbage seldom, and never among the modules: torch's alone are a million objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session")
def times(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """How often to try something: `times(short, long)`, the second with `--long`."""
    return lambda short, long: long if pytestconfig.getoption("long") else short


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache, state and configuration directories, for the tests and the processes they start."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory))
        patch.setenv("XDG_STATE_HOME", str(directory / "state"))
        patch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
        yield directory


@pytest.fixture
def empty_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the user's state that no other test uses."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


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
    (empty_directory / "experiments.json").write_bytes(shipped_rounds())
    return Workspace(empty_directory)


@pytest.fixture
def store(workspace: Workspace) -> RoundStore:
    """The empty store of `workspace`."""
    return RoundStore(workspace)


@pytest.fixture
def cockpit(workspace: Workspace) -> Cockpit:
    """Operations on `workspace`, with a detached runner that trains by the fake engine."""
    return Cockpit(workspace, start_fake_runner)


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


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork what this process starts of `SERVERS` during the test, which spares the imports."""
    monkeypatch.setattr(subprocess, "Popen", popen)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of 40,000 parameters that anything can be trained on in a second."""
    from tests.support.tiny_model import write_model

    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[RunDir, list[AnyEvent]]:
    """A round trained without a break, and its events."""
    from tests.support.rounds_to_train import make_run, train_here

    # With whole answers, which tests of samples read.
    run = make_run(tmp_path_factory.mktemp("reference") / "runs" / "0001-c0ffee", tiny_model, train__sample_tokens=40)
    return run, train_here(run)

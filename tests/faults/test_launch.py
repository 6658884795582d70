"""A crash between queueing a round and its first step leaves one engine or none, and the round can be resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Finished, Started
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.fake_engine import Script
from tests.support.faults.tried import Tried
from tests.support.processes import ROOT, end_processes_of, start_fake_runner
from tests.support.waiting import await_rounds

LINES = 120  # by the last of them the engine is there and recorded
ENDED = (Status.FINISHED, Status.INTERRUPTED)


def crash(workspace: Workspace, what: str, line: int) -> bool:
    """Run `what` up to its line of that number; False if it has fewer."""
    command = [sys.executable, "-m", "tests.support.crashing", str(line), what, str(workspace.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def outcome(workspace: Workspace) -> str:
    """What is wrong after a crash, once a new front end has taken care; "" for nothing."""
    store, cockpit = RoundStore(workspace), Cockpit(workspace, start_fake_runner)
    if not store.rounds():
        return _unrecorded(workspace, cockpit)
    cockpit.runner.wake()
    (round_,) = await_rounds(store, lambda rounds: rounds[0].status in ENDED)
    run = workspace.run_dir(round_.id)
    engines = sum(isinstance(event, Started) for event in read_events(run.events))
    if engines > 1:
        return f"{engines} engines"
    if round_.status is Status.INTERRUPTED:
        cockpit.resume(1)
        await_rounds(store, lambda rounds: rounds[0].status is Status.FINISHED)
    endings = sum(isinstance(event, Finished) for event in read_events(run.events))
    return "" if endings == 1 else f"finished {endings} times"


def _unrecorded(workspace: Workspace, cockpit: Cockpit) -> str:
    """A run directory that no record names is given back by a rebuild."""
    whole = [path for path in workspace.runs_dir.glob("*/spec.json")]
    count, _ = cockpit.rebuild()
    return "" if count == len(whole) else f"{count} rounds from {len(whole)} run directories"


@pytest.mark.long
@pytest.mark.parametrize("what", ["queue", "runner"])
def test_crash_between_queueing_and_the_first_step(
    what: str,
    tmp_path_factory: pytest.TempPathFactory,
    nano_spec: Spec,
    script: Callable[[Script], None],
    times: Callable[[int, int], int],
    tried: Tried,
) -> None:
    script(Script(steps=2))

    def make() -> Workspace:
        root: Path = tmp_path_factory.mktemp("workspace")
        workspace = Workspace(root)
        RoundStore(workspace).create()
        (root / "spec.json").write_bytes(msgspec.json.encode(nano_spec))
        if what == "runner":
            Cockpit(workspace, lambda _: None).queue(nano_spec)
        return workspace

    count, failures = 0, []
    for line in range(1, LINES + 1, LINES // times(5, LINES)):
        workspace = make()
        try:
            if not crash(workspace, what, line):
                break
            count += 1
            if wrong := outcome(workspace):
                failures.append(f"line {line}: {wrong}")
        finally:
            end_processes_of(workspace.root)
    who = {"queue": "front end", "runner": "runner"}[what]
    tried("F15", f"{who} killed at a line between queueing and the first step", count, len(failures))
    assert not failures, "\n".join(failures)
    assert count >= times(4, LINES // 2)

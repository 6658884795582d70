"""A directory that several machines share, such as by NFS: what one of them trains is left alone by the others."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.errors import RoundError
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store import home
from tests.support.faults.tried import Tried


@pytest.fixture
def shared(
    workspace: Workspace, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> tuple[Cockpit, Path]:
    """A directory in which another machine trains round 1, as seen from here, and the heartbeat of its engine."""
    round_ = idle_cockpit.queue(nano_spec)
    idle_cockpit.store.update(1, status=Status.RUNNING)
    monkeypatch.setattr(home, "boot_id", lambda: "another boot")
    monkeypatch.setattr(home, "MACHINE_ID", Path("/dev/null"))
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    monkeypatch.setattr(home, "WATCH_SECONDS", 0.4)
    heartbeat = workspace.run_dir(round_.id).heartbeat
    heartbeat.touch()
    return Cockpit(workspace, refuse_to_start), heartbeat


def refuse_to_start(workspace: Workspace) -> None:
    raise AssertionError(f"a runner was started in {workspace.root}")


def test_round_that_another_machine_trains_in_this_directory_is_not_trained_twice(
    shared: tuple[Cockpit, Path], nano_spec: Spec
) -> None:
    cockpit, _ = shared
    cockpit.runner.wake()
    assert cockpit.store.get(1).status is Status.RUNNING
    with pytest.raises(RoundError, match=r"round 1 is training on .* in this same directory"):
        cockpit.queue(nano_spec)
    assert len(cockpit.store.rounds()) == 1


@pytest.mark.parametrize("hours", [-7 * 24, -1, 1])
@pytest.mark.parametrize("act", ["resume", "queue", "remove"])
def test_other_machine_whose_clock_differs_keeps_its_round(
    shared: tuple[Cockpit, Path], nano_spec: Spec, hours: int, act: str, tried: Tried
) -> None:
    cockpit, heartbeat = shared
    acts: dict[str, Callable[[], object]] = {
        "resume": lambda: cockpit.resume(1),
        "queue": lambda: cockpit.queue(nano_spec),
        "remove": lambda: cockpit.remove(1),
    }
    before = cockpit.workspace.store_path.read_bytes()
    is_over = threading.Event()

    def beat() -> None:
        moment = time.time() + hours * 3600
        os.utime(heartbeat, (moment, moment))

    def beat_on() -> None:
        while not is_over.wait(0.05):
            beat()

    beat()
    engine = threading.Thread(target=beat_on)
    engine.start()
    try:
        with pytest.raises(RoundError, match=r"round 1 is training on .* in this same directory"):
            acts[act]()
    finally:
        is_over.set()
        engine.join()
    lost = cockpit.workspace.store_path.read_bytes() != before
    tried("F24", "trained by another machine whose clock differs", 1, int(lost))
    assert not lost


def test_round_whose_machine_died_is_resumed_on_another(shared: tuple[Cockpit, Path]) -> None:
    cockpit, heartbeat = shared
    os.utime(heartbeat, (1e9, 1e9))
    cockpit = Cockpit(cockpit.workspace, lambda _: None)
    assert cockpit.store.get(1).message.startswith("was training ")
    assert cockpit.resume(1).status is Status.QUEUED

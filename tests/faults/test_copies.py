"""Copies of a workspace, which record the engine and the queue of the original: neither is touched from there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from engine.api import Cockpit
from engine.errors import RoundError
from engine.files.append import has_second_name
from engine.files.paths import Workspace
from engine.runner.launcher import runner_is_alive
from engine.runs.engine_contract import RUN_VARIABLE, run_key
from engine.runs.event_log import read_events
from engine.runs.events import Started, Step
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store import home
from engine.store.round_store import RoundStore
from engine.system.process import processes_with
from tests.support.fake_engine import GATE, Script
from tests.support.fake_runner import RUNNER_COMMAND
from tests.support.faults.tried import Tried
from tests.support.processes import end_processes_of, is_running, processes_of, start_fake_runner
from tests.support.waiting import await_rounds, await_status, await_true
from tui.cli.main import main

Follow = Callable[[Script], None]
WAITING = Script(wait_in="training")


def copied(source: Path, target: Path) -> None:
    """As `cp -a` does it: with times, modes and links."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def synced(source: Path, target: Path) -> None:
    """Into a directory that is there, as rsync and a restored backup do it."""
    target.mkdir()
    shutil.copytree(source, target, dirs_exist_ok=True)


def hard_linked(source: Path, target: Path) -> None:
    """As backups are made that cost no space: each file of the copy is the original's, by a second name."""
    subprocess.run(["cp", "-al", str(source), str(target)], check=True)


def of_version_0_1_0(source: Path, target: Path) -> None:
    """A copy of a store that an earlier version wrote, which records no home."""
    copied(source, target)
    for root in (source, target):
        forget_home(root / "experiments.json")


def forget_home(path: Path) -> None:
    tables = msgspec.json.decode(path.read_bytes())
    del tables["meta"]["1"]["home"]
    path.write_bytes(msgspec.json.encode(tables))


class Scene:
    """An original in which round 1 trains and round 2 waits, and a copy."""

    def __init__(self, original: Workspace, copy: Workspace) -> None:
        self.original, self.copy = RoundStore(original), RoundStore(copy)
        self.home, self.workspace = original, copy
        (first, _) = await_rounds(self.original, lambda rounds: rounds[0].process is not None)
        assert first.process is not None
        self.engine = psutil.Process(first.process.pid)
        self.run = original.run_dir(first.id)

    def let_original_finish(self) -> None:
        (self.run.path / GATE).touch()
        second = self.original.get(2)
        await_status(self.original, 1, Status.FINISHED)
        (self.home.run_dir(second.id).path / GATE).touch()
        await_status(self.original, 2, Status.FINISHED)

    def nothing_was_started(self) -> bool:
        lock = self.workspace.runner_lock
        is_locked = runner_is_alive(self.workspace) and not has_second_name(lock)  # or it is the original's
        return not processes_of(self.workspace.root) and not is_locked


@pytest.fixture(params=[copied, synced, hard_linked, of_version_0_1_0])
def scene(
    request: pytest.FixtureRequest, workspace: Workspace, cockpit: Cockpit, nano_spec: Spec, script: Follow,
    tmp_path: Path,
) -> Iterator[Scene]:  # fmt: skip
    script(WAITING)
    cockpit.queue(nano_spec)
    cockpit.queue(nano_spec)
    await_rounds(cockpit.store, lambda rounds: rounds[0].process is not None)
    await_true(lambda: any(read_events(workspace.run_dir(cockpit.store.get(1).id).events, Started)), "the engine")
    copy = tmp_path / "copy"
    request.param(workspace.root, copy)
    yield Scene(workspace, Workspace(copy))
    end_processes_of(copy)


def test_looking_at_a_copy_starts_and_ends_nothing(
    scene: Scene, tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["ls"], ["queue"], ["show", "1"], ["ls", "--json"]):
        assert main([*words, "--workspace", str(scene.workspace.root)], start_fake_runner) == 0
    assert "was training" in capsys.readouterr().out
    Cockpit(scene.workspace, start_fake_runner).runner.wake()
    subprocess.run([*RUNNER_COMMAND, str(scene.workspace.root)], timeout=30, check=True)
    lost = not (scene.nothing_was_started() and is_running(scene.engine))
    tried("F24", "looked at, and a runner started by hand", 6, int(lost))
    assert not lost
    assert [round_.status for round_ in scene.copy.rounds()] == [Status.INTERRUPTED, Status.HELD]
    scene.let_original_finish()


@pytest.mark.parametrize("scene", [hard_linked], indirect=True)
def test_copy_by_hard_links_writes_nothing_into_the_original(scene: Scene, script: Follow, tried: Tried) -> None:
    scene.let_original_finish()
    before = {path: path.read_bytes() for path in scene.home.runs_dir.rglob("*") if path.is_file()}
    script(Script())
    cockpit = Cockpit(scene.workspace, start_fake_runner)
    cockpit.resume(1)
    await_status(scene.copy, 1, Status.FINISHED)
    lost = {path: path.read_bytes() for path in scene.home.runs_dir.rglob("*") if path.is_file()} != before
    tried("F24", "copied by hard links, and resumed there", 1, int(lost))
    assert not lost


def test_round_changed_in_a_copy_is_not_said_to_be_running(scene: Scene) -> None:
    cockpit = Cockpit(scene.workspace, start_fake_runner)
    assert cockpit.annotate(1, note="why").status is Status.INTERRUPTED
    cockpit.remove(1)
    assert cockpit.restore(1).status is Status.INTERRUPTED
    assert scene.nothing_was_started()
    scene.let_original_finish()


def test_copy_cannot_stop_the_original(scene: Scene, tried: Tried) -> None:
    cockpit = Cockpit(scene.workspace, start_fake_runner)
    with pytest.raises(RoundError, match=r"round 1 is interrupted .*was training .*: resume it to train it here"):
        cockpit.stop(1)
    tried("F24", "stopped there", 1, int(not is_running(scene.engine)))
    scene.let_original_finish()
    assert scene.nothing_was_started()


def test_copy_trains_what_it_is_told_to(scene: Scene, script: Follow, tried: Tried) -> None:
    script(Script())
    cockpit = Cockpit(scene.workspace, start_fake_runner)
    cockpit.resume(1)
    ended = await_status(scene.copy, 1, Status.FINISHED)
    assert scene.copy.get(2).status is Status.HELD  # nobody told it to train that one
    engines = [event for event in read_events(scene.workspace.run_dir(ended.id).events, Started)]
    assert len(engines) == 2
    await_true(lambda: not runner_is_alive(scene.workspace), "the end of the copy's runner")
    assert is_running(scene.engine)
    cockpit.release(2)
    await_status(scene.copy, 2, Status.FINISHED)
    tried("F24", "told to train", 2, int(not is_running(scene.engine)))
    scene.let_original_finish()


@pytest.mark.long
def test_new_round_in_a_copy_trains_and_nothing_else(scene: Scene, nano_spec: Spec, script: Follow) -> None:
    script(Script())
    Cockpit(scene.workspace, start_fake_runner).queue(nano_spec)
    await_status(scene.copy, 3, Status.FINISHED)
    assert [round_.status for round_ in scene.copy.rounds()[:2]] == [Status.INTERRUPTED, Status.HELD]
    assert is_running(scene.engine)
    scene.let_original_finish()


def test_copy_in_the_place_of_the_moved_original_is_left_alone(
    workspace: Workspace, cockpit: Cockpit, nano_spec: Spec, script: Follow, tmp_path: Path, tried: Tried
) -> None:
    """The runner and the engine of a moved workspace know it by paths at which a copy stands by now."""
    script(WAITING)
    cockpit.queue(nano_spec)
    (round_,) = await_rounds(cockpit.store, lambda rounds: rounds[0].process is not None)
    moved = Workspace(tmp_path / "moved")
    workspace.root.rename(moved.root)
    copied(moved.root, workspace.root)
    await_true(lambda: not runner_is_alive(moved), "the end of the runner, which sees that it works on a copy")
    assert round_.process is not None
    engine = psutil.Process(round_.process.pid)
    Cockpit(workspace, start_fake_runner).runner.wake()
    assert is_running(engine) and cockpit.store.get(1).status is Status.INTERRUPTED
    Cockpit(moved, start_fake_runner).runner.wake()
    (moved.run_dir(round_.id).path / GATE).touch()
    ended = await_status(RoundStore(moved), 1, Status.FINISHED)
    events = read_events(moved.run_dir(ended.id).events, Started, Step)
    tried("F24", "put in the place of the original, which was moved", 1, int(len(events) != 1 + Script().steps))
    assert len(events) == 1 + Script().steps
    end_processes_of(moved.root)


def test_backup_in_the_place_of_the_original_is_a_copy(
    workspace: Workspace, idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path
) -> None:
    idle_cockpit.queue(nano_spec)
    workspace.root.rename(tmp_path / "moved")
    copied(tmp_path / "moved", workspace.root)
    message = idle_cockpit.store.get(1).message
    assert message == "was queued in another directory, which was here before: release it to train it here"


def test_two_workspaces_with_one_runs_directory_are_no_copies(
    workspace: Workspace, cockpit: Cockpit, nano_spec: Spec, script: Follow, tmp_path: Path
) -> None:
    """Links to one store and one `runs/`: the lock of the engine is the same file."""
    script(WAITING)
    cockpit.queue(nano_spec)
    await_rounds(cockpit.store, lambda rounds: rounds[0].process is not None)
    other = Workspace(tmp_path / "other")
    other.root.mkdir()
    for path in (workspace.runs_dir, workspace.store_path):
        (other.root / path.name).symlink_to(path)
    alias = Cockpit(other, start_fake_runner)
    assert alias.store.get(1).status is Status.RUNNING
    alias.queue(nano_spec)
    assert cockpit.store.get(1).status is Status.RUNNING
    for number in (1, 2):
        round_ = await_status(cockpit.store, number, Status.RUNNING)
        (workspace.run_dir(round_.id).path / GATE).touch()
        await_status(alias.store, number, Status.FINISHED)


def test_readonly_look_at_what_an_earlier_version_trains(
    workspace: Workspace, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(WAITING)
    cockpit.queue(nano_spec)
    round_ = await_status(cockpit.store, 1, Status.RUNNING)
    await_true(workspace.run_dir(round_.id).heartbeat.exists, "a heartbeat")
    forget_home(workspace.store_path)
    assert Cockpit(workspace, readonly=True).store.get(1).status is Status.RUNNING


@pytest.mark.parametrize("reboot", [False, True])
def test_workspace_of_another_machine_is_inert(
    workspace: Workspace, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    reboot: bool, tried: Tried,
) -> None:  # fmt: skip
    """A directory that two machines share: the same inode, another kernel and, unless it was a reboot, another id."""
    idle_cockpit.queue(nano_spec)
    monkeypatch.setattr(home, "boot_id", lambda: "another boot")
    if not reboot:
        (tmp_path / "machine-id").write_text("another machine")
        monkeypatch.setattr(home, "MACHINE_ID", tmp_path / "machine-id")
        monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    started: list[Workspace] = []
    cockpit = Cockpit(workspace, started.append)
    cockpit.runner.wake()
    expected = (Status.QUEUED, 1) if reboot else (Status.HELD, 0)
    tried(
        "F24",
        "opened on another machine, or after a reboot",
        1,
        int((cockpit.store.get(1).status, len(started)) != expected),
    )
    assert (cockpit.store.get(1).status, len(started)) == expected


def test_engine_of_a_copy_is_not_in_the_original(scene: Scene) -> None:
    """The variable by which children are killed names the directory itself, not a path."""
    copy = scene.workspace.run_dir(scene.copy.get(1).id)
    assert [process.pid for process in processes_with(RUN_VARIABLE, run_key(scene.run))] == [scene.engine.pid]
    assert processes_with(RUN_VARIABLE, run_key(copy)) == []
    scene.let_original_finish()

"""Files of another user's workspace, changed by root or by somebody who may write there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.chat.conversation import Chat, ChatAnswer, Exchange, Speaker
from engine.chat.history import ChatFile, append_example
from engine.compare.extra_evaluations import write_evaluation
from engine.errors import LoratuiError, StoreError
from engine.files.atomic import write_atomically
from engine.files.directories import write_directory
from engine.files.paths import Workspace
from engine.preference.judgement_log import append_judgement
from engine.report.export import write_export
from engine.runner.launcher import start_runner
from engine.runs.engine_contract import Heartbeat
from engine.runs.event_log import EventWriter
from engine.spec.round import Status
from engine.spec.schema import ModelSpec, Spec
from engine.store.round_store import RoundStore
from engine.system.locks import acquire_inheritable_lock
from tests.support.fake_engine import Script
from tests.support.faults.tried import Tried
from tests.support.judged import preferred
from tests.support.processes import ROOT
from tests.support.recorded_runs import scored_on
from tests.support.rounds import make_round
from tests.support.waiting import await_status, await_true

OWNER = (12345, 23456)  # of nobody here
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def give(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, *OWNER, follow_symlinks=False)


def owners(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(root)): (path.stat().st_uid, path.stat().st_gid) for path in (root, *root.rglob("*"))}


@needs_root
def test_root_leaves_a_workspace_its_owner_s(
    workspace: Workspace, cockpit: Cockpit, nano_spec: Spec, script: Callable[[Script], None], tried: Tried
) -> None:
    cockpit.store.add(lambda number: make_round(number, Status.FINISHED))
    give(workspace.root)
    workspace.store_path.chmod(0o640)
    script(Script())
    cockpit.annotate(1, note="by root")
    cockpit.queue(nano_spec)
    await_status(cockpit.store, 2, Status.FINISHED)
    cockpit.annotate(2, note="by root")
    strangers = {path: owner for path, owner in owners(workspace.root).items() if owner != OWNER}
    strangers.pop("recorded", None)  # of the stand-in for the runner
    tried("F32", "files that root replaced or made in a user's workspace", len(owners(workspace.root)), len(strangers))
    assert strangers == {}
    assert workspace.store_path.stat().st_mode & 0o777 == 0o640


@needs_root
def test_everything_else_that_root_makes_is_the_owner_s_at_once(
    empty_directory: Path, idle_cockpit: Cockpit, nano_spec: Spec, tried: Tried
) -> None:
    workspace = idle_cockpit.workspace
    give(workspace.root)
    run = workspace.run_dir(idle_cockpit.queue(nano_spec).id)
    talk = Chat(
        ModelSpec("some/model"), (Speaker(run.name, 1),), exchanges=(Exchange("Why?", {run.name: ChatAnswer("So.")}),)
    )
    ChatFile(workspace).save(talk)
    append_example(workspace.root / "examples.jsonl", talk, talk.speakers[0].key)
    append_judgement(workspace.judgements, preferred("Why?", "first"))
    write_evaluation(run, scored_on("other.jsonl", 3.0))
    write_export(workspace.root / "rounds.csv", b"number\n1\n")
    start_runner(workspace, [sys.executable, "-c", "print('at work')"])
    with run.open_log(), Heartbeat(run.heartbeat):
        EventWriter(run.events).close()
        write_directory(run.adapter, lambda directory: directory.joinpath("config").touch())
        descriptor = acquire_inheritable_lock(run.lock)
        assert descriptor is not None
        os.close(descriptor)
        await_true(run.heartbeat.exists, "a heartbeat")
    idle_cockpit.share()
    idle_cockpit.remove(1)
    strangers = {path: owner for path, owner in owners(workspace.root).items() if owner != OWNER}
    strangers.pop(f"runs/{run.name}/adapter/config", None)  # of a library; the runner gives it over at the end
    tried("F32", "logs, locks, talks, judgements, evaluations, exports and marks that root made", 14, len(strangers))
    assert strangers == {}


AS_ANOTHER = """
import os, sys
import filelock, traceback, tui.cli.commands, tui.terminal.crash_log  # while the interpreter's files can be read
from tui.cli.main import main
os.setgid(54321); os.setuid(54321)
sys.exit(main(sys.argv[1:]))
"""


@needs_root
def test_user_who_may_write_takes_nothing_over(tried: Tried) -> None:
    """In a directory that everybody may write to, outside pytest's own, which is closed to others."""
    root = Path("/tmp") / f"loratui-{os.getpid()}"
    root.mkdir(mode=0o777)
    try:
        workspace = Workspace(root)
        RoundStore(workspace).create((make_round(1, Status.FINISHED),))
        give(root)
        root.chmod(0o777)
        for path in root.iterdir():
            path.chmod(0o666)
        before = workspace.store_path.read_bytes()
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER, "edit", "1", "--note", "mine", "--workspace", str(root)],
            cwd="/", env={"PYTHONPATH": str(ROOT), "HOME": "/nowhere", "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        lost = workspace.store_path.read_bytes() != before or done.returncode != 2
        tried("F32", "replaced by a user who is not its owner", 1, int(lost))
        assert not lost, done.stderr
        assert "it belongs to user 12345, and replacing it would make it yours" in done.stderr
        assert owners(root)["experiments.json"] == OWNER
    finally:
        shutil.rmtree(root)


def test_lock_of_another_user_is_refused_with_the_way_to_look(
    idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(
        StoreError, match="permission denied; only the owner can change a workspace: use --readonly to look at it"
    ):
        idle_cockpit.queue(nano_spec)


def test_link_to_runs_is_followed_everywhere(
    workspace: Workspace, cockpit: Cockpit, nano_spec: Spec, script: Callable[[Script], None], tmp_path: Path,
    tried: Tried,
) -> None:  # fmt: skip
    """`runs/` on a larger disk."""
    large = tmp_path / "large"
    large.mkdir()
    workspace.runs_dir.symlink_to(large)
    script(Script())
    round_ = cockpit.queue(nano_spec)
    await_status(cockpit.store, 1, Status.FINISHED)
    assert (large / round_.id / "adapter").is_dir()
    cockpit.annotate(1, note="x")
    cockpit.remove(1)
    assert cockpit.restore(1).note == "x"
    cockpit.remove(1)
    cockpit.empty_trash()
    lost = (large / round_.id).exists()
    tried("F32", "trained, annotated, deleted and restored behind a link", 1, int(lost))
    assert not lost and cockpit.rebuild()[0] == 0


def test_link_to_runs_whose_disk_is_not_mounted_is_named_and_loses_nothing(
    workspace: Workspace, idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    tried: Tried,
) -> None:  # fmt: skip
    large = tmp_path / "large"
    large.mkdir()
    workspace.runs_dir.symlink_to(large)
    removed = idle_cockpit.queue(nano_spec)
    idle_cockpit.remove(removed.number)
    large.rename(tmp_path / "elsewhere")
    for act in (lambda: idle_cockpit.queue(nano_spec), idle_cockpit.empty_trash, idle_cockpit.share):
        with pytest.raises(LoratuiError, match="is a link to something that does not exist now"):
            act()
    now = time.time()
    for days in (7.1, 8.2):
        monkeypatch.setattr(time, "time", lambda days=days: now + days * 86400)
        idle_cockpit.purge_trash()
    (tmp_path / "elsewhere").rename(large)
    lost = idle_cockpit.restore(removed.number) != removed or not workspace.run_dir(removed.id).spec.is_file()
    tried("F32", "deleted for good behind a link to a disk that is not mounted", 1, int(lost))
    assert not lost


def test_access_control_list_is_kept(tmp_path: Path, tried: Tried) -> None:
    """An access control list in the kernel's form: version 2, then tag, permissions and id of each entry."""
    entries = [(1, 6, -1), (2, 4, 12345), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
    value = b"\2\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + may.to_bytes(2, "little") + who.to_bytes(4, "little", signed=who < 0)
        for tag, may, who in entries
    )
    path = tmp_path / "file"
    path.write_text("old")
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError:
        pytest.skip("the file system has no access control lists")
    write_atomically(path, b"new")
    lost = os.getxattr(path, "system.posix_acl_access") != value
    tried("F32", "replaced file with an access control list", 1, int(lost))
    assert not lost and path.read_bytes() == b"new"

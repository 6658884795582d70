from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.chat.conversation import Chat, Speaker
from engine.chat.history import ChatFile
from engine.errors import LoratuiError, ReadOnly
from engine.files.paths import Workspace
from engine.files.permissions import is_shared, set_umask, share, unshare
from engine.preference.judgement_log import Retraction, append_judgement
from engine.spec.schema import ModelSpec, Spec

NOBODY = 65534


@pytest.fixture(autouse=True)
def umask_of_before() -> Iterator[None]:
    before = os.umask(0o077)
    os.umask(before)
    yield
    os.umask(before)


def modes(root: Path) -> dict[str, int]:
    paths = [root, *root.rglob("*")]
    return {str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in paths if not path.is_symlink()}


def open_to_others(root: Path) -> list[str]:
    return sorted(name for name, mode in modes(root).items() if mode & 0o077 and not name.endswith(".lock"))


def everything(root: Path) -> list[str]:
    return sorted(name for name in modes(root) if not name.endswith(".lock"))


@pytest.fixture
def cockpit(idle_cockpit: Cockpit, nano_spec: Spec) -> Cockpit:
    idle_cockpit.workspace.root.chmod(0o700)
    for _ in range(2):
        idle_cockpit.queue(nano_spec)
    append_judgement(idle_cockpit.workspace.judgements, Retraction(id="none", time=1.0))
    idle_cockpit.sweeps.new(lambda settings: nano_spec, ["lora.r=4,8"])
    return idle_cockpit


def test_workspace_is_its_owners_until_it_is_shared(cockpit: Cockpit) -> None:
    root = cockpit.workspace.root
    set_umask(cockpit.workspace)
    cockpit.annotate(1, note="private")
    assert open_to_others(root) == []
    cockpit.share()
    assert is_shared(cockpit.workspace) and open_to_others(root) == everything(root)
    assert {mode & 0o027 for mode in modes(root).values()} == {0}, "the group may not write, nor others read"


def test_new_files_in_a_shared_workspace_are_shared(cockpit: Cockpit, nano_spec: Spec) -> None:
    cockpit.share()
    set_umask(cockpit.workspace)
    cockpit.queue(nano_spec)
    cockpit.annotate(1, note="for the group")
    assert open_to_others(cockpit.workspace.root) == everything(cockpit.workspace.root)


def test_sharing_ends_for_what_is_there_and_what_comes(cockpit: Cockpit, nano_spec: Spec) -> None:
    cockpit.share()
    cockpit.unshare()
    set_umask(cockpit.workspace)
    cockpit.queue(nano_spec)
    assert open_to_others(cockpit.workspace.root) == [] and not is_shared(cockpit.workspace)


def test_runs_directory_that_everybody_may_read_is_not_a_mark(cockpit: Cockpit) -> None:
    """TensorBoard makes it like this."""
    cockpit.workspace.runs_dir.chmod(0o755)
    set_umask(cockpit.workspace)
    cockpit.annotate(1, note="private")
    assert stat.S_IMODE(cockpit.workspace.store_path.stat().st_mode) == 0o600


def test_sharing_changes_nothing_through_a_link(cockpit: Cockpit, tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work")
    (cockpit.workspace.runs_dir / "thesis").symlink_to(precious)
    (cockpit.workspace.runs_dir / "elsewhere").symlink_to(tmp_path)
    cockpit.share()
    assert stat.S_IMODE(precious.stat().st_mode) == 0o600


def test_mark_that_is_a_link_does_not_count(cockpit: Cockpit, tmp_path: Path) -> None:
    cockpit.workspace.shared_sign.symlink_to(tmp_path / "elsewhere")
    assert not is_shared(cockpit.workspace)
    with pytest.raises(LoratuiError, match="could not be shared"):
        cockpit.share()
    assert not (tmp_path / "elsewhere").exists()


def test_readonly_workspace_is_not_shared(cockpit: Cockpit) -> None:
    other = Cockpit(cockpit.workspace, lambda _: None, readonly=True)
    for act in (other.share, other.unshare):
        with pytest.raises(ReadOnly):
            act()
    assert not is_shared(cockpit.workspace)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a colleague")
def test_colleague_of_the_group_reads_and_others_do_not(nano_spec: Spec) -> None:
    """Let the kernel judge: a process of another user reads, once in the group and once outside."""
    group = 54321
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        cockpit = Cockpit(Workspace(root), lambda _: None)
        cockpit.store.create()
        cockpit.queue(nano_spec)
        for path in [root, *root.rglob("*")]:
            os.lchown(path, -1, group)
        cockpit.share()

        def readable(gid: int) -> bool:
            file = cockpit.workspace.store_path
            done = subprocess.run(["cat", file], user=NOBODY, group=gid, capture_output=True)
            return done.returncode == 0 and done.stdout == file.read_bytes()

        assert (readable(group), readable(NOBODY)) == (True, False)


def test_conversations_are_shared_and_taken_back_like_runs(workspace: Workspace) -> None:
    talk = Chat(ModelSpec("some/model"), (Speaker("0003-c0ffee", 3),))
    files = [ChatFile(workspace).save(talk)]
    share(workspace)
    set_umask(workspace)
    files.append(ChatFile(workspace).save(talk))
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o640, 0o640]
    unshare(workspace)
    assert "conversations" not in " ".join(open_to_others(workspace.root))

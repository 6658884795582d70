"""Deletion that is regretted after the app has ended, however it ended."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.store.round_store import RoundStore
from tests.support.disks import in_small_disk
from tests.support.faults.tried import Tried
from tests.support.rounds import make_round
from tests.support.terminal import Terminal
from tests.support.waiting import await_true

LORATUI = str(Path(sys.executable).with_name("loratui"))


@pytest.mark.parametrize("end", ["q", signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_deleted_round_comes_back_in_the_next_session(
    workspace: Workspace, store: RoundStore, tried: Tried, end: str | signal.Signals
) -> None:
    round_ = store.add(lambda number: make_round(number, Status.FINISHED))
    adapter = workspace.run_dir(round_.id).adapter
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"days of work")
    with Terminal([LORATUI, str(workspace.root)], workspace.root) as terminal:
        terminal.wait_for("finished")
        terminal.type("d")
        await_true(lambda: store.rounds() == [], "the deletion")
        if isinstance(end, str):
            terminal.type(end)
        else:
            terminal.process.kill(end)
        terminal.wait_for_end()
    assert [each.number for each in Cockpit(workspace).trash()] == [1]
    with Terminal([LORATUI, str(workspace.root)], workspace.root) as terminal:
        terminal.wait_for("Quit")
        terminal.type("z")
        await_true(lambda: store.rounds() == [round_], "the round")
        terminal.type("q")
        terminal.wait_for_end()
    lost = not (adapter / "adapter_model.safetensors").is_file()
    tried("F25", "deleted, the app ended, brought back in the next session", 1, int(lost))
    assert not lost


FULL_DISK = """
import sys
from pathlib import Path
from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round

workspace = Workspace(Path(sys.argv[1]))
cockpit = Cockpit(workspace)
RoundStore(workspace).create((make_round(1, status=Status.FINISHED),))
run = workspace.run_dir(cockpit.store.get(1).id)
run.path.mkdir(parents=True)
(run.path / "weights").write_bytes(bytes(100_000))
cockpit.remove(1)
try:
    with open(workspace.root / "large", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError as error:
    print(error.strerror)
print(len(cockpit.empty_trash()), run.path.exists(), cockpit.trash())
"""


def test_trash_is_emptied_on_a_full_disk(small_disk: Path, tmp_path: Path, tried: Tried) -> None:
    code = tmp_path / "code.py"
    code.write_text(FULL_DISK)
    done = in_small_disk(small_disk, 256, 'exec "$1" "$2" "$3"', sys.executable, str(code), str(small_disk))
    tried("F25", "emptied to free a full disk", 1, int(done.returncode != 0))
    assert done.stdout.splitlines() == ["No space left on device", "1 False []"], done.stderr

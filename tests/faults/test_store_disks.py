"""F2: a disk that is full or read-only beneath the store: the last good state stays, and a later try succeeds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
from textual.pilot import Pilot

from engine.api import Cockpit
from engine.errors import StoreDamaged, StoreError
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.faults.store_writers import Change, Notes, applied, forked, limited, make, notes_in, received
from tests.support.faults.tried import Tried
from tests.support.pilot import OpenApp, shown, until
from tests.support.pilot import open_app as open_app
from tests.support.rounds import damage, make_round, write_nano_spec
from tui.screens.rounds.table import RoundTable

Times = Callable[[int, int], int]
DISK_BYTES = 256 * 1024


class Disk:
    """A small file system of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs")

    def _mount(self, *options: str) -> None:
        done = subprocess.run(["mount", *options, str(self.root)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")

    def read_only(self, wanted: bool) -> None:
        self._mount("-o", f"remount,{'ro' if wanted else 'rw'}")

    def leave(self, free: int) -> None:
        """Have a filler take all but `free` bytes, in whole pages."""
        filler = self.root / "filler"
        filler.unlink(missing_ok=True)
        room = os.statvfs(self.root)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room.f_bavail * room.f_frsize - free, 1))

    def end(self) -> None:
        subprocess.run(["umount", "-l", str(self.root)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root)
    yield disk
    disk.end()


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name != "filler"}


def test_disk_is_full(disk: Disk, times: Times, tried: Tried) -> None:
    """From no room at all to room enough, a page at a time: each change is refused in a sentence or made."""
    store = RoundStore(Workspace(disk.root))
    store.create()
    for _ in range(5):
        store.add(lambda number: make_round(number, Status.HELD, note="n" * 3000))
    path = disk.root / "experiments.json"
    whole = names(disk.root)
    kinds: list[Change] = [("add", 0, "new"), ("update", 2, "new"), ("remove", 3, "")]
    lost = []
    refused = made = 0
    pages = times(12, 80)
    for page in range(pages):
        disk.leave(free=page * 4096 * 80 // pages // 4)
        what, number, note = kinds[page % 3]
        before = notes_in(path)
        change: Change = (what, number or max(before) + 1, f"{note} {page}")
        content = path.read_bytes()
        try:
            make(RoundStore(Workspace(disk.root)), change)
            made += 1
            if notes_in(path) != applied(before, change):
                lost.append(f"{page}: {change} was acknowledged")
        except StoreError as error:
            refused += 1
            if path.read_bytes() != content or "no space left on device" not in error.message:
                lost.append(f"{page}: {change} {error.message}")
            disk.leave(free=DISK_BYTES // 2)
            make(store, change)
            if notes_in(path) != applied(before, change):
                lost.append(f"{page}: {change} was tried again")
        if what == "remove":
            disk.leave(free=DISK_BYTES // 2)
            store.forget(removed.number for removed in store.removed())  # or the store grows until it fits no more
            store.update_each(lambda rounds: {rounds[0].number: {"note": "n" * 3000}})
            kinds[2] = "remove", max(notes_in(path)), ""
        lost += names(disk.root) - whole
    tried("F2", "a full disk (tmpfs), from no free page to enough, and tried again with room", pages, len(lost))
    assert lost == []
    assert refused and made


def test_file_may_not_grow(workspace: Workspace, times: Times, tried: Tried) -> None:
    """A write that ends in the midst, at every length."""
    store = RoundStore(workspace)
    store.add(lambda number: make_round(number, Status.HELD))
    content, notes = workspace.store_path.read_bytes(), notes_in(workspace.store_path)
    lost = []
    limits = range(0, len(content) + 200, max(1, len(content) // times(10, 150)))
    for limit in limits:
        change: Change = ("update", 1, f"after {limit}")
        with forked(limited, workspace.root, change, limit) as (process, pipe):
            pipe.recv()
            pipe.send("go")
            ((kind, message),) = cast(list[tuple[str, str]], received(pipe))
            process.join()
        expected: Notes = applied(notes, change) if kind == "done" else notes
        if notes_in(workspace.store_path) != expected or (kind == "refused" and "file too large" not in message):
            lost.append(f"{limit}: {kind} {message}")
        notes = expected
    tried("F2", "a write cut short at every so many bytes (RLIMIT_FSIZE)", len(limits), len(lost))
    assert lost == []


def test_disk_is_read_only(disk: Disk, tried: Tried) -> None:
    workspace = Workspace(disk.root)
    store = RoundStore(workspace)
    store.create()
    for _ in range(3):
        store.add(lambda number: make_round(number, Status.HELD))
    content = workspace.store_path.read_bytes()
    disk.read_only(True)
    lost = []
    changes: list[Change] = [("add", 4, "new"), ("update", 2, "new"), ("remove", 3, "")]
    for change in changes:
        for handle in (store, RoundStore(workspace)):
            with pytest.raises(StoreError, match="cannot be written to"):
                make(handle, change)
            if len(handle.rounds()) != 3 or workspace.store_path.read_bytes() != content:
                lost.append(str(change))
    damaged = content.replace(b"{", b"[")
    disk.read_only(False)
    damage(workspace.store_path, damaged)
    disk.read_only(True)
    with pytest.raises(StoreDamaged, match="damaged and was left as it is"):
        RoundStore(workspace).rounds()
    disk.read_only(False)
    if workspace.store_path.read_bytes() != damaged:
        lost.append("the damaged file")
    damage(workspace.store_path, content)
    for change in changes:
        notes = notes_in(workspace.store_path)
        make(store, change)
        if notes_in(workspace.store_path) != applied(notes, change):
            lost.append(f"{change} was tried again")
    tried("F2", "a disk that becomes read-only (mount -o remount,ro) and writable again", 2 * len(changes), len(lost))
    assert lost == []


@pytest.mark.parametrize("trouble", ["full", "read-only"])
async def test_front_end_on_a_troubled_disk_keeps_what_it_shows_and_what_was_typed(
    disk: Disk, tmp_path: Path, open_app: OpenApp, tried: Tried, trouble: str
) -> None:
    workspace = Workspace(disk.root)
    cockpit = Cockpit(workspace, lambda _: None)
    cockpit.store.create()
    spec: Spec = write_nano_spec(tmp_path / "nano")
    before = [cockpit.queue(spec, hold=True) for _ in range(2)]

    def banner(pilot: Pilot[str | None]) -> str:
        return shown(pilot, "#banner")

    async with open_app(cockpit, size=(120, 40)) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one(RoundTable).row_count == 2, "two rows")
        if trouble == "full":
            disk.leave(free=0)
        else:
            disk.read_only(True)
        words = {"full": "no space left on device", "read-only": "cannot be written to"}[trouble]
        await pilot.press("w")
        await until(pilot, lambda: words in banner(pilot), "the banner")
        assert pilot.app.screen.query_one(RoundTable).row_count == 2
        await pilot.press("ctrl+t")
        await until(pilot, lambda: words in banner(pilot), "the banner once more")
        if trouble == "full":
            (disk.root / "filler").unlink()
        else:
            disk.read_only(False)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: cockpit.store.get(2).status is Status.QUEUED, "the release")
        await until(pilot, lambda: not pilot.app.screen.query_one("#banner").display, "no banner")
    expected = [before[0], msgspec.structs.replace(before[1], status=Status.QUEUED)]
    found = cockpit.store.rounds()
    tried("F2", "the TUI on a full and on a read-only disk: table kept, Ctrl+T writes again", 1, found != expected)
    assert found == expected

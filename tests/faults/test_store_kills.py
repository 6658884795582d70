"""F1: whatever moment a writer of the store is killed at, what was acknowledged is there and the file is whole."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.store.round_store import RoundStore
from tests.support.disks import needs_strace
from tests.support.faults.store_writers import (
    Change,
    Notes,
    applied,
    change_on,
    change_once,
    forked,
    notes_in,
    received,
)
from tests.support.faults.tried import Tried
from tests.support.rounds import damage, make_round

Times = Callable[[int, int], int]
OURS = re.compile(r"experiments\.json(\.lock|\.bak[123]|\.[0-9-]+\.damaged)?|runs")
MEMORY = {"brk", "mmap", "munmap", "mremap", "madvise", "mprotect"}  # and what else no write of a file depends on
LINK_CALLS = "/^link(at)?$"
ELSEWHERE = MEMORY | {"futex", "clock_nanosleep", "rt_sigaction", "getpid", "gettid", "getrandom", "exit_group", "exit"}


def leftovers(workspace: Workspace) -> list[str]:
    """Names in the workspace that should not be there once another writer has been at work."""
    return [path.name for path in workspace.root.iterdir() if not OURS.fullmatch(path.name)]


def prepared(workspace: Workspace) -> tuple[Notes, int]:
    """A store with a few rounds: their notes, and the highest number given."""
    store = RoundStore(workspace)
    for _ in range(5):
        store.add(lambda given: make_round(given, Status.HELD, note="n" * 500))
    store.remove(2, frozenset())
    return notes_in(workspace.store_path), 5


def test_kill_at_a_random_moment(workspace: Workspace, times: Times, tried: Tried) -> None:
    notes, last = prepared(workspace)
    chance = random.Random(1)
    lost = []
    count = times(40, 500)
    midst = 0
    for seed in range(count):
        with forked(change_on, workspace.root, notes, last, seed) as (process, pipe):
            pipe.poll(30)
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
            process.join()
            messages = received(pipe)
        pending: Change | None = None
        for message in messages:
            if message == "done":
                assert pending is not None
                notes, last, pending = applied(notes, pending), max(last, pending[1]), None
            else:
                pending = cast(Change, message)
        midst += pending is not None
        found = notes_in(workspace.store_path)
        expected = [notes] if pending is None else [notes, applied(notes, pending)]
        if found not in expected or RoundStore(workspace).notices():
            lost.append(f"seed {seed}: {pending}")
        notes, last = found, max([last, *found])
    RoundStore(workspace).update(min(notes), note="after")
    lost += leftovers(workspace)
    tried("F1", "kill -9 of a writer at a random moment", count, len(lost))
    assert lost == []
    assert midst > count // 2  # the others fell between two writes


def test_kill_while_a_damaged_store_is_mended(workspace: Workspace, times: Times, tried: Tried) -> None:
    prepared(workspace)
    kept = workspace.store_path.with_name("experiments.json.bak1").read_bytes()
    expected = notes_in(workspace.store_path.with_name("experiments.json.bak1"))
    chance = random.Random(2)
    lost = []
    count = times(10, 100)
    for seed in range(count):
        content = b"{broken %d" % seed
        damage(workspace.store_path, content)
        with forked(change_on, workspace.root, expected, 5, seed) as (process, pipe):
            pipe.poll(30)
            time.sleep(chance.uniform(0, 0.008))
            process.kill()
            process.join()
            pending, *rest = cast(list[Change], received(pipe))
        found = {round_.number: round_.note for round_ in RoundStore(workspace).rounds()}
        if not rest and found not in (expected, applied(expected, pending)):
            lost.append(f"seed {seed}: {pending}")
        if content not in {path.read_bytes() for path in workspace.root.glob("*.damaged")}:
            lost.append(f"seed {seed}: {content!r}")
        for path in workspace.root.glob("experiments.json.*"):
            if path.suffix != ".lock":
                path.unlink()
        workspace.store_path.with_name("experiments.json.bak1").write_bytes(kept)
    tried("F1", "kill -9 while a damaged file is mended", count, len(lost))
    assert lost == []


class Traced:
    """One change of the store in a process that strace looks at, and does to it what `injects` say."""

    def __init__(self, workspace: Workspace, change: Change, calls: str, injects: list[str]) -> None:
        with forked(change_once, workspace.root, change) as (process, pipe):
            assert pipe.recv() == "ready"
            log = workspace.root.parent / "strace.log"
            command = ["strace", "-f", "-o", str(log), "-p", str(process.pid), "-e", f"trace={calls}"]
            with subprocess.Popen(
                [*command, *(word for inject in injects for word in ("-e", f"inject={inject}"))],
                stderr=subprocess.PIPE,
                text=True,
            ) as tracer:
                assert tracer.stderr is not None
                said = tracer.stderr.readline()
                if "attached" not in said:
                    process.kill()
                    pytest.skip(f"strace may not look at processes here: {said.strip()}")
                with suppress(BrokenPipeError):  # the fault may already have hit its waiting
                    pipe.send("go")
                self.answers = received(pipe)
                process.join()
        self.calls = [found[1] for line in log.read_text().splitlines() if (found := re.search(r"^\d+ +(\w+)\(", line))]


def as_it_is(workspace: Workspace) -> None:
    pass


def behind_a_link(workspace: Workspace) -> None:
    """The store becomes a link to where its file is now."""
    away = workspace.root.parent / "away"
    away.mkdir()
    for path in workspace.root.glob("experiments.json*"):
        path.rename(away / path.name)
    workspace.store_path.symlink_to(away / "experiments.json")


def without_links(workspace: Workspace) -> None:
    """As on a file system that has none; strace refuses them."""


def damaged(workspace: Workspace) -> None:
    damage(workspace.store_path, b"{broken")


@needs_strace
@pytest.mark.parametrize("setting", [as_it_is, behind_a_link, without_links, damaged])
@pytest.mark.parametrize("fault", ["signal=SIGKILL", "error=ENOSPC", "error=EIO"])
def test_each_system_call_of_a_write_in_turn(
    empty_directory: Path, times: Times, tried: Tried, setting: Callable[[Workspace], None], fault: str
) -> None:
    """The N-th call of each kind kills the writer, or is refused: for every kind and every N that a write makes."""
    template = empty_directory.parent / "template"
    template.mkdir()
    prepared_in = Workspace(template)
    RoundStore(prepared_in).create()
    notes, _ = prepared(prepared_in)
    change: Change = ("update", 3, "new")
    workspace = Workspace(empty_directory)

    def renew() -> None:
        """The workspace as it was, in as few moves as will do."""
        for directory in (empty_directory, empty_directory.parent / "away"):
            shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(template, empty_directory)
        setting(workspace)

    renew()
    no_links = [f"{LINK_CALLS}:error=EPERM"] if setting is without_links else []
    whole = Traced(workspace, change, "all", no_links)
    assert whole.answers == [("done", "")]
    counts = Counter(call for call in whole.calls if call not in ELSEWHERE)
    if no_links:
        del counts["link"], counts["linkat"]
    places = [(call, number) for call, total in counts.items() for number in range(1, total + 1)]
    chosen = places[:: max(1, len(places) // times(5, len(places)))]
    old = notes_in(template / "experiments.json.bak1") if setting is damaged else notes
    lost = []
    for call, number in chosen:
        renew()
        traced = Traced(workspace, change, f"{call},{LINK_CALLS}", [*no_links, f"{call}:{fault}:when={number}"])
        kind, message = cast(list[tuple[str, str]], traced.answers or [("silent", "")])[0]
        found = {round_.number: round_.note for round_ in RoundStore(workspace).rounds()}
        expected = {"done": [applied(old, change)], "refused": [old], "silent": [old, applied(old, change)]}
        if found not in expected.get(kind, []):
            lost.append(f"{call} {number}: {kind} {message}, and the notes are {[note[:9] for note in found.values()]}")
        if setting is behind_a_link and not workspace.store_path.is_symlink():
            lost.append(f"{call} {number}: the link")
        if setting is damaged and b"{broken" not in {path.read_bytes() for path in empty_directory.glob("*.damaged")}:
            lost.append(f"{call} {number}: the damaged file")
        RoundStore(workspace).update(1, note=f"after {call} {number}")
        lost += [f"{call} {number}: {name} is left" for name in leftovers(workspace)]
    how = {"signal=SIGKILL": "kill -9 at", "error=ENOSPC": "ENOSPC from", "error=EIO": "EIO from"}[fault]
    tried("F1", f"{how} each system call of a write", len(chosen), len(lost))
    assert lost == []

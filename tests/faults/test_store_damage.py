"""F4, S10, S11: whatever lies in the place of the store or of its lock, nothing is lost and nothing else harmed."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import LoratuiError, StoreError
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.store.json_storage import AtomicJSONStorage
from engine.store.round_store import RoundStore
from tests.support.faults.store_writers import notes_in
from tests.support.faults.tried import Tried
from tests.support.rounds import NO_STORES, damage, make_round

Times = Callable[[int, int], int]


@pytest.fixture
def whole(workspace: Workspace) -> bytes:
    """The content of a store of three rounds; its backup has the same rounds, one of them with another note."""
    store = RoundStore(workspace)
    for note in ("first", "second", "third"):
        store.add(partial(make_round, status=Status.HELD, note=note))
    store.update(3, note="last")
    return workspace.store_path.read_bytes()


class Mending:
    """Puts a content in the store's place, and tells what was lost when the store is used then."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._backup = AtomicJSONStorage(workspace.store_path).backups[0]
        self._kept = self._backup.read_bytes()
        self.notes = notes_in(self._backup)

    def try_with(self, content: bytes) -> list[str]:
        self._backup.unlink()
        self._backup.write_bytes(self._kept)
        damage(self.workspace.store_path, content)
        store = RoundStore(self.workspace)
        found = {round_.number: round_.note for round_ in store.rounds()}
        asides = list(self.workspace.root.glob("*.damaged"))
        lost = []
        if asides:
            if [path.read_bytes() for path in asides] != [content]:
                lost.append("the damaged file")
            if found != self.notes:
                lost.append(f"rounds: {found}")
            if [path.name in notice for notice in store.notices() for path in asides] != [True]:
                lost.append("the notice")
        elif self.workspace.store_path.read_bytes() != content:
            lost.append("the file, which was overwritten")
        for path in asides:
            path.unlink()
        return lost


def test_store_cut_at_every_byte(workspace: Workspace, whole: bytes, times: Times, tried: Tried) -> None:
    mending = Mending(workspace)
    end = len(whole.rstrip())
    lengths = range(0, end, max(1, end // times(100, end)))
    lost = [f"{length}: {what}" for length in lengths for what in mending.try_with(whole[:length])]
    tried("F4", "a store cut short at every byte", len(lengths), len(lost))
    assert lost == []
    assert mending.try_with(whole[:end]) == []  # without its last newline it is whole all the same
    assert notes_in(workspace.store_path) == {1: "first", 2: "second", 3: "last"}


def test_store_with_one_byte_changed(workspace: Workspace, whole: bytes, times: Times, tried: Tried) -> None:
    """Mended, or read with the rounds that the byte is no part of; one that is broken is named."""
    mending = Mending(workspace)
    chance = random.Random(3)
    starts = [whole.index(b'\n  "%d": {' % number) for number in (1, 2, 3)] + [whole.index(b'\n "meta"')]
    lost = []
    count = times(150, 4000)
    for _ in range(count):
        place = chance.randrange(len(whole))
        content = bytearray(whole)
        content[place] = chance.randrange(256)
        lost += [f"{place}: {what}" for what in mending.try_with(bytes(content))]
        store = RoundStore(workspace)
        numbers = {round_.number for round_ in store.rounds()}
        touched = {number for number in (1, 2, 3) if starts[number - 1] <= place <= starts[number] + 12}
        if not {1, 2, 3} - touched <= numbers or (numbers != {1, 2, 3} and not store.notices()):
            lost.append(f"{place}: {content[place]!r} left {numbers}")
    tried("F4", "a store with one byte changed: mended, or the other rounds read", count, len(lost))
    assert lost == []


def test_store_of_somebody_else(workspace: Workspace, whole: bytes, tried: Tried) -> None:
    mending = Mending(workspace)
    assert whole
    lost = [f"{name}: {what}" for name, content in NO_STORES.items() for what in mending.try_with(content)]
    tried("F4", "an empty, foreign, deep or doubled file, or no UTF-8", len(NO_STORES), len(lost))
    assert lost == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
numbered = st.dictionaries(st.integers(-1, 10**20).map(str), json_values, max_size=3)
foreign = (
    st.binary(max_size=200)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"rounds": numbered}, optional={"meta": numbered, "other": numbered}).map(
        lambda value: json.dumps(value).encode()
    )
)


def test_any_content_at_all(workspace: Workspace, whole: bytes, times: Times, tried: Tried) -> None:
    """Nothing but a LoratuiError comes of it, and what was there is kept: in its place, or aside."""
    mending = Mending(workspace)
    assert whole
    count = times(60, 1500)
    lost: list[str] = []
    contents: list[bytes] = []

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(content=foreign)
    def use(content: bytes) -> None:
        contents.append(content)
        try:
            lost.extend(f"{content!r}: {what}" for what in mending.try_with(content))
            store = RoundStore(workspace)
            kept = json.loads(workspace.store_path.read_bytes())["rounds"]
            added = store.add(lambda number: make_round(number, Status.HELD))
            store.update(added.number, note="x")
            after = json.loads(workspace.store_path.read_bytes())["rounds"]
            if {key: after.get(key) for key in kept} != kept:
                lost.append(f"{content!r}: a record")
        except LoratuiError as error:
            if workspace.store_path.read_bytes() != content:
                lost.append(f"{content!r}: {error}")

    use()
    tried("S10", "any bytes and any JSON as the store (Hypothesis)", len(contents), len(lost))
    assert lost == []


def link_to_file(lock: Path, victim: Path) -> None:
    lock.symlink_to(victim)


def link_to_nothing(lock: Path, victim: Path) -> None:
    lock.symlink_to(victim.with_name("not there"))


def link_to_directory(lock: Path, victim: Path) -> None:
    lock.symlink_to(victim.parent)


def second_name(lock: Path, victim: Path) -> None:
    os.link(victim, lock)


def directory(lock: Path, victim: Path) -> None:
    lock.mkdir()


def pipe(lock: Path, victim: Path) -> None:
    os.mkfifo(lock)


@pytest.mark.parametrize("put", [link_to_file, link_to_nothing, link_to_directory, second_name, directory, pipe])
def test_something_else_in_the_place_of_the_lock(
    workspace: Workspace, whole: bytes, tmp_path: Path, tried: Tried, put: Callable[[Path, Path], None]
) -> None:
    """Refused in a sentence, or used without harm: what a link leads to is never opened, changed or made."""
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "victim"
    victim.write_bytes(b"precious")
    lock = workspace.root / "experiments.json.lock"
    lock.unlink()
    put(lock, victim)
    was = os.lstat(lock)
    refused = 0
    for handle in (RoundStore(workspace), RoundStore(workspace)):
        assert len(handle.rounds()) == 3
        try:
            handle.update(1, note="changed")
        except StoreError as error:
            refused += 1
            assert "cannot be used as a lock" in error.message
    lost = [
        what
        for what, kept in {
            "the victim": victim.read_bytes() == b"precious",
            "something new": [path.name for path in outside.iterdir()] == ["victim"],
            "what is in the lock's place": (os.lstat(lock).st_ino, os.lstat(lock).st_mode) == (was.st_ino, was.st_mode),
            "the store": refused == 0 or workspace.store_path.read_bytes() == whole,
        }.items()
        if not kept
    ]
    tried("S11", "a link, pipe or directory in the place of the store's lock", 1, len(lost))
    assert lost == []
    assert refused in (0, 2)
    if put in (link_to_file, link_to_nothing, link_to_directory, directory):
        assert refused == 2


def test_links_in_the_place_of_what_is_written_beside_the_store(
    workspace: Workspace, whole: bytes, tmp_path: Path, tried: Tried
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    assert whole
    backups = AtomicJSONStorage(workspace.store_path).backups
    for path in backups:
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
    store = RoundStore(workspace)
    for turn in range(4):
        store.update(1, note=str(turn))
    lost = [] if victim.read_bytes() == b"precious" else ["the victim"]
    lost += [path.name for path in backups[:1] if path.is_symlink()]
    tried("S11", "links in the place of the store's backups", len(backups), len(lost))
    assert lost == []


def test_lock_is_never_deleted(workspace: Workspace, whole: bytes, tried: Tried) -> None:
    assert whole
    lock = workspace.root / "experiments.json.lock"
    inode = lock.stat().st_ino
    store = RoundStore(workspace)
    store.update(1, note="x")
    store.rebuild()
    damage(workspace.store_path, b"{")
    store.rounds()
    store.dismiss()
    lost = lock.stat().st_ino != inode
    tried("S11", "the lock file stays the same one, whatever is done", 4, lost)
    assert not lost

from __future__ import annotations

import errno
import json
import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinydb import TinyDB

from engine.errors import StoreError
from engine.files.paths import Workspace
from engine.spec.round import ACTIVE
from engine.store.json_format import read_tables
from engine.store.json_storage import HOUR_SECONDS, AtomicJSONStorage
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
keys = st.integers(1, 10**15 - 1).map(str)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
Tables = dict[str, dict[str, dict[str, object]]]
tables = st.dictionaries(keys, st.dictionaries(names, values, max_size=4), max_size=4)


def add(store: RoundStore) -> None:
    store.add(make_round)


@given(others=st.dictionaries(names, tables, max_size=3), rounds=tables)
def test_what_is_written_is_what_any_parser_reads(
    tmp_path_factory: pytest.TempPathFactory,
    others: dict[str, dict[str, dict[str, object]]],
    rounds: dict[str, dict[str, object]],
) -> None:
    path = tmp_path_factory.mktemp("storage") / "experiments.json"
    document = {**others, "rounds": rounds}
    storage = AtomicJSONStorage(path)
    storage.write(document)
    assert json.loads(path.read_bytes()) == document
    for read in (storage.read(), AtomicJSONStorage(path).read()):
        assert {name: {key: dict(item) for key, item in table.items()} for name, table in read.items()} == document
    again = path.with_name("again.json")
    AtomicJSONStorage(again).write(AtomicJSONStorage(path).read())
    assert again.read_bytes() == path.read_bytes()


def test_file_is_a_tinydb_file(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    add(store)
    with TinyDB(workspace.store_path, access_mode="r") as db:
        assert [(doc.doc_id, doc["number"], doc["status"]) for doc in db.table("rounds")] == [
            (1, 1, "finished"),
            (2, 2, "finished"),
        ]
    tinydb_over_ours = TinyDB(storage=lambda: AtomicJSONStorage(workspace.store_path))
    assert [document["id"] for document in tinydb_over_ours.table("rounds").all()] == ["0001-00c0ffee", "0002-00c0ffee"]


def numbers_in(path: Path) -> list[int]:
    return sorted(map(int, read_tables(path)["rounds"]))


def backup(workspace: Workspace, age: int) -> Path:
    return workspace.root / f"experiments.json.bak{age}"


def test_backup_is_the_file_before_the_last_change(store: RoundStore, workspace: Workspace) -> None:
    for count in range(1, 5):
        before = workspace.store_path.read_bytes()
        add(store)
        assert backup(workspace, 1).read_bytes() == before
        assert numbers_in(backup(workspace, 1)) == list(range(1, count))
    assert not backup(workspace, 1).samefile(workspace.store_path)


def test_older_backups_are_an_hour_and_a_day_apart(store: RoundStore, workspace: Workspace) -> None:
    """Hours at which the file was written, and what of them is kept after each write."""

    def written_at(hours: float) -> None:
        os.utime(workspace.store_path, (1e9 + hours * HOUR_SECONDS,) * 2)

    def backup_ages() -> list[float]:
        paths = (backup(workspace, age) for age in (1, 2, 3))
        return [round((path.stat().st_mtime - 1e9) / HOUR_SECONDS, 1) for path in paths if path.exists()]

    written_at(-1)
    for hours, expected in [
        (0, [-1]),
        (0.1, [0, -1]),
        (0.2, [0.1, 0, -1]),
        (1.5, [0.2, 0, -1]),
        (1.6, [1.5, 0, -1]),
        (3, [1.6, 1.5, -1]),
        (26, [3, 1.5, -1]),
        (26.1, [26, 3, -1]),
        (60, [26.1, 26, -1]),
        (60.1, [60, 26.1, 26]),
    ]:
        add(store)
        written_at(hours)
        assert backup_ages() == expected


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_backup_is_a_copy_where_there_are_no_links(
    store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr("os.link", refuse)
    for _ in range(3):
        before = workspace.store_path.read_bytes()
        add(store)
        assert backup(workspace, 1).read_bytes() == before
    assert sorted(path.name for path in workspace.root.iterdir()) == [
        "experiments.json",
        "experiments.json.bak1",
        "experiments.json.bak2",
        "experiments.json.bak3",
        "experiments.json.lock",
    ]


def test_files_are_nobody_elses_to_read(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    add(store)
    assert {stat.S_IMODE(path.stat().st_mode) for path in workspace.root.iterdir()} == {0o600}


def test_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path) -> None:
    home, dotfiles = tmp_path / "home", tmp_path / "dotfiles"
    for directory in (home, dotfiles):
        directory.mkdir()
    target = dotfiles / "rounds.json"
    RoundStore(Workspace(home)).create()
    os.rename(home / "experiments.json", target)
    (home / "experiments.json").symlink_to("../dotfiles/rounds.json")
    store = RoundStore(Workspace(home))
    add(store)
    add(store)
    assert (home / "experiments.json").is_symlink()
    assert numbers_in(target) == [1, 2]
    assert sorted(path.name for path in dotfiles.iterdir()) == [
        "rounds.json", "rounds.json.bak1", "rounds.json.bak2", "rounds.json.lock",
    ]  # fmt: skip


def test_link_that_came_while_the_store_was_open_is_followed(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    target = workspace.root / "elsewhere.json"
    os.rename(workspace.store_path, target)
    workspace.store_path.symlink_to(target)
    add(store)
    assert workspace.store_path.is_symlink()
    assert numbers_in(target) == [1, 2]


def test_link_that_leads_in_a_circle_is_told(empty_directory: Path) -> None:
    workspace = Workspace(empty_directory)
    workspace.store_path.symlink_to("experiments.json")
    with pytest.raises(StoreError, match="cannot be read: too many levels of symbolic links"):
        RoundStore(workspace).rounds()
    with pytest.raises(StoreError):
        add(RoundStore(workspace))
    assert workspace.store_path.is_symlink()


def test_leftovers_of_killed_writers_are_swept_and_nothing_else(store: RoundStore, workspace: Workspace) -> None:
    ours = workspace.root / f".experiments.json.{'0' * 16}.tmp"
    others = [
        workspace.root / name
        for name in (
            ".experiments.json.swp",
            ".experiments.json.tmp",
            f".spec.json.{'0' * 16}.tmp",
            "experiments.json~",
        )
    ]
    for path in (ours, *others):
        path.write_bytes(b"x")
    (workspace.root / f".experiments.json.{'1' * 16}.tmp").mkdir()
    store.rounds()
    assert ours.exists()  # reading has no lock, so it could be another's that is at work
    add(RoundStore(workspace))
    assert not ours.exists()
    assert all(path.exists() for path in others)


def test_disk_that_does_not_confirm_a_rename_is_told_and_the_write_stands(
    store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in its place may not be reported as not written: the caller would undo the rest of it."""

    def refuse(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("engine.store.json_storage.sync", refuse)
        add(store)
    assert numbers_in(workspace.store_path) == [1]
    assert ["input/output error" in notice for notice in store.notices()] == [True]
    add(store)
    assert store.notices() == []


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_file_that_another_program_is_writing_is_waited_for_whatever_the_clock(
    store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    add(store)
    path = workspace.store_path
    whole, now = path.read_bytes(), time.time()
    path.write_bytes(whole[:100])
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)  # the file system is another machine's

    def finish_and_wait(seconds: float) -> None:
        path.write_bytes(whole)
        os.utime(path, ns=(0, path.stat().st_mtime_ns - round(seconds * 1e9)))

    monkeypatch.setattr(time, "sleep", finish_and_wait)
    assert len(RoundStore(workspace).rounds()) == 1
    assert list(workspace.root.glob("*.damaged")) == []


def test_own_write_that_changes_nothing_is_not_made(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    before = store.signature()
    store.update(1, note=store.get(1).note)
    assert store.signature() == before
    with pytest.raises(Exception, match="there is no round 2"):
        store.remove(2, ACTIVE)
    assert store.signature() == before

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import RoundError, StoreError, StoreMissing
from engine.files.paths import Workspace
from engine.spec.plan import make_plan
from engine.spec.round import ACTIVE, Result, Round, Status
from engine.store import store_lock
from engine.store.json_format import Tables, read_tables
from engine.store.json_storage import AtomicJSONStorage
from engine.store.round_store import RoundStore
from engine.system.process import ProcessIdentity
from tests.support.processes import ROOT
from tests.support.rounds import make_round, make_spec
from tests.support.waiting import await_true

Act = Callable[[], object]


def add(store: RoundStore, status: Status = Status.QUEUED) -> Round:
    return store.add(lambda number: make_round(number, status))


def numbers(store: RoundStore) -> list[int]:
    return [round_.number for round_ in store.rounds()]


def content(workspace: Workspace) -> bytes:
    return workspace.store_path.read_bytes()


def test_new_store_is_empty(store: RoundStore) -> None:
    assert store.rounds() == []
    assert store.exists()


def test_round_is_kept_as_it_is(store: RoundStore, workspace: Workspace) -> None:
    round_ = make_round(
        1,
        spec=make_spec(lora__target_modules="all-linear"),
        name="é 🦙",
        note='"\\\n',
        parent=9,
        warnings=("a",),
        created=1.5,
        result=Result(perplexity=3.16),
    )
    assert store.add(lambda _: round_) == round_
    for reader in (store, RoundStore(workspace)):
        assert reader.rounds() == [round_]
        assert reader.get(1) == round_


def test_create_refuses_what_is_there(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    before = content(workspace)
    with pytest.raises(StoreError, match="exists already"):
        RoundStore(workspace).create()
    assert content(workspace) == before


def test_numbers_are_never_given_twice(store: RoundStore, workspace: Workspace) -> None:
    assert [add(store).number for _ in range(3)] == [1, 2, 3]
    store.remove(3, ACTIVE)
    store.remove(1, ACTIVE)
    assert add(store).number == 4
    store.remove(4, ACTIVE)
    assert add(RoundStore(workspace)).number == 5
    assert numbers(store) == [2, 5]


def test_numbers_go_on_after_created_rounds(empty_directory: Path) -> None:
    store = RoundStore(Workspace(empty_directory))
    store.create((make_round(7), make_round(3)))
    assert numbers(store) == [3, 7]
    assert add(store).number == 8


def test_rounds_come_by_number_not_by_text(store: RoundStore) -> None:
    for _ in range(11):
        add(store)
    assert numbers(store) == list(range(1, 12))


def test_signature_changes_with_every_write_and_with_nothing_else(store: RoundStore, workspace: Workspace) -> None:
    other = RoundStore(workspace)
    seen = [store.signature()]
    changes: list[Act] = [
        lambda: add(store),
        lambda: store.update(1, note="a"),
        lambda: store.update(1, note="b"),
        lambda: store.remove(1, ACTIVE),
    ]
    for change in changes:
        change()
        store.rounds()
        assert store.signature() == other.signature()
        seen.append(other.signature())
    assert len(set(seen)) == 5


def test_change_by_another_is_seen(store: RoundStore, workspace: Workspace) -> None:
    other = RoundStore(workspace)
    add(store)
    assert other.get(1).note == ""
    store.update(1, note="new")
    assert other.get(1).note == other.rounds()[0].note == "new"


def test_update_changes_the_fields_named(store: RoundStore) -> None:
    before = add(store)
    result = Result(perplexity=3.0)
    after = store.update(1, status=Status.FINISHED, result=result, warnings=("w",))
    assert after == msgspec.structs.replace(before, status=Status.FINISHED, result=result, warnings=("w",))
    assert store.get(1) == after


def test_update_is_guarded_by_status(store: RoundStore, workspace: Workspace) -> None:
    add(store, Status.RUNNING)
    before = content(workspace)
    with pytest.raises(RoundError, match="round 1 is running: this can be done only to a round that is held or queued"):
        store.update(1, frozenset({Status.QUEUED, Status.HELD}), note="x")
    assert content(workspace) == before
    assert store.update(1, frozenset({Status.RUNNING}), note="x").note == "x"


def test_several_rounds_change_in_one_write(
    store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        add(store)
    before = store.rounds()
    asked: list[list[Round]] = []
    writes: list[Path] = []
    write = AtomicJSONStorage.write

    def count(storage: AtomicJSONStorage, data: Tables, **options: Any) -> None:
        writes.append(storage.path)
        write(storage, data, **options)

    monkeypatch.setattr(AtomicJSONStorage, "write", count)

    def swap(rounds: list[Round]) -> dict[int, dict[str, object]]:
        asked.append(rounds)
        return {1: {"status": Status.HELD}, 3: {"note": "third", "result": Result(perplexity=3.0)}}

    after = store.update_each(swap)
    assert asked == [before]
    assert after == [
        msgspec.structs.replace(before[0], status=Status.HELD),
        before[1],
        msgspec.structs.replace(before[2], note="third", result=Result(perplexity=3.0)),
    ]
    assert RoundStore(workspace).rounds() == after
    assert len(writes) == 1
    assert store.update_each(lambda _: {}) == after
    assert len(writes) == 1


def test_change_of_several_is_all_or_nothing(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    before = content(workspace)
    with pytest.raises(RoundError, match="there is no round 7"):
        store.update_each(lambda _: {1: {"note": "x"}, 7: {"note": "x"}})

    def refuse(_: list[Round]) -> dict[int, dict[str, object]]:
        raise RoundError("not now")

    with pytest.raises(RoundError, match="not now"):
        store.update_each(refuse)
    assert content(workspace) == before


def test_active_round_is_not_removed(store: RoundStore) -> None:
    add(store, Status.RUNNING)
    with pytest.raises(RoundError, match="round 1 is running: stop it first"):
        store.remove(1, ACTIVE)
    assert numbers(store) == [1]


def test_round_that_does_not_exist_is_named(store: RoundStore) -> None:
    asked: list[Act] = [lambda: store.get(7), lambda: store.update(7, note=""), lambda: store.remove(7, ACTIVE)]
    for ask in asked:
        with pytest.raises(RoundError, match="there is no round 7"):
            ask()


def test_what_a_newer_version_wrote_survives_an_update(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    document = json.loads(content(workspace))
    document["rounds"]["1"]["tags"] = ["from", "tomorrow"]
    document["later"] = {"1": {"x": 1}}
    workspace.store_path.write_text(json.dumps(document))
    store.update(1, note="touched")
    add(store)
    document = json.loads(content(workspace))
    assert document["rounds"]["1"]["tags"] == ["from", "tomorrow"]
    assert document["rounds"]["1"]["note"] == "touched"
    assert document["later"] == {"1": {"x": 1}}


later = st.dictionaries(
    st.from_regex(r"later_[a-z]{1,4}", fullmatch=True), st.none() | st.integers(0, 9) | st.text(max_size=3)
)


@given(parts=st.fixed_dictionaries({part: later for part in ("", "spec", "spec.lora", "plan", "result", "process")}))
def test_what_a_newer_version_wrote_within_survives_when_all_around_it_changes(
    tmp_path_factory: pytest.TempPathFactory, parts: dict[str, dict[str, object]]
) -> None:
    workspace = Workspace(tmp_path_factory.mktemp("store"))
    store = RoundStore(workspace)
    store.create((make_round(1, process=ProcessIdentity("boot", 1, 2)),))
    document = json.loads(content(workspace))
    round_ = document["rounds"]["1"]
    for path, fields in parts.items():
        place = round_
        for name in filter(None, path.split(".")):
            place = place[name]
        place.update(fields)
    workspace.store_path.write_text(json.dumps(document))
    spec = make_spec(lora__r=64)
    changed: dict[str, Any] = {
        "note": "n", "spec": spec, "plan": make_plan(spec, 7), "result": Result(eval_loss=2.0),
        "process": ProcessIdentity("boot", 3, 4),
    }  # fmt: skip
    assert store.update(1, **changed) == msgspec.structs.replace(make_round(1), **changed)
    store.update_each(lambda _: {1: {"result": Result(perplexity=3.0), "spec": spec}})
    document = json.loads(content(workspace))["rounds"]["1"]
    for path, fields in parts.items():
        place = document
        for name in filter(None, path.split(".")):
            place = place[name]
        assert {name: place[name] for name in fields} == fields
    assert document["spec"]["lora"]["r"] == 64
    assert (document["result"]["eval_loss"], document["result"]["perplexity"]) == (None, 3.0)


def test_missing_store_is_told_apart(empty_directory: Path) -> None:
    store = RoundStore(Workspace(empty_directory))
    assert not store.exists()
    assert store.signature() is None
    for ask in (store.rounds, lambda: store.get(1), lambda: add(store), lambda: store.update(1, note="")):
        with pytest.raises(StoreMissing, match=r"there is no experiments\.json"):
            ask()
    assert not store.exists()


@pytest.mark.parametrize("refusing", ["os.replace", "os.fsync", "os.link", "engine.store.json_storage.temporary_file"])
def test_write_that_fails_leaves_the_old_state_and_says_so(
    store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, refusing: str
) -> None:
    add(store)
    before, files = content(workspace), sorted(workspace.root.iterdir())

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    changes: list[Act] = [
        lambda: add(store),
        lambda: store.update(1, note="x"),
        lambda: store.remove(1, ACTIVE),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(refusing, refuse)
        for change in changes:
            with pytest.raises(StoreError, match="could not be written and is as before: no space left on device"):
                change()
    assert content(workspace) == before
    assert sorted(workspace.root.iterdir()) == files
    assert [(round_.number, round_.note) for round_ in store.rounds()] == [(1, "")]
    assert add(store).number == 2


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from typing import Any
from engine.errors import StoreError
from engine.store.round_store import RoundStore
from engine.files.paths import Workspace
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = RoundStore(Workspace(Path(sys.argv[1])))
size = store.signature()[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
try:
    store.update(1, note="x" * 100)
except StoreError as error:
    print(error)
"""


def test_disk_that_fills_up_in_the_middle_leaves_the_old_state(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    before = content(workspace)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(workspace.root)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "could not be written and is as before: file too large" in done.stdout
    assert content(workspace) == before
    assert numbers(RoundStore(workspace)) == [1]


def test_directory_that_cannot_be_written_is_named(
    store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(StoreError, match="cannot be written to: choose another workspace"):
        add(store)


def test_lock_that_cannot_be_used_is_named(store: RoundStore, workspace: Workspace) -> None:
    lock = workspace.root / "experiments.json.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    with pytest.raises(StoreError, match=r"experiments\.json\.lock cannot be used as a lock"):
        add(store)


def test_lock_held_too_long_is_told(store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_lock, "LOCK_SECONDS", 0.05)
    waiting = RoundStore(workspace)
    refusals: list[str] = []

    def wait() -> None:
        with pytest.raises(StoreError) as caught:
            add(waiting)
        refusals.append(caught.value.message)

    def make(number: int) -> Round:
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
        return make_round(number)

    store.add(make)
    assert len(refusals) == 1 and "has been held by another process" in refusals[0]
    assert numbers(store) == [1]


def add_many(root: Path, count: int) -> None:
    store = RoundStore(Workspace(root))
    for _ in range(count):
        add(store)


def test_rounds_added_by_four_processes_at_once_are_all_kept(store: RoundStore, workspace: Workspace) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_many, args=(workspace.root, 50)) for _ in range(4)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()
            process.join()
            process.close()
    assert numbers(store) == list(range(1, 201))
    assert add(store).number == 201


def test_threads_of_one_process_do_not_lose_rounds(store: RoundStore) -> None:
    threads = [threading.Thread(target=lambda: [add(store) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(store) == list(range(1, 81))


def test_reader_in_another_thread_that_is_slow_hinders_no_write(
    store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began before another process wrote, and ends between the read and the write of a change."""
    add(store)
    begun, go_on = threading.Event(), threading.Event()

    def read_slowly(path: Path) -> Tables:
        if threading.current_thread() is reader:
            begun.set()
            go_on.wait(60)
        return read_tables(path)

    def make(number: int) -> Round:
        go_on.set()
        reader.join()
        return make_round(number)

    reader = threading.Thread(target=store.rounds)
    monkeypatch.setattr("engine.store.json_storage.read_tables", read_slowly)
    other = RoundStore(workspace)
    add(other)
    reader.start()
    assert begun.wait(60)
    add(other)
    assert store.add(make).number == 4


WRITER = """
import sys
from pathlib import Path
from typing import Any
from engine.store.round_store import RoundStore
from engine.files.paths import Workspace
store = RoundStore(Workspace(Path(sys.argv[1])))
count = store.get(1).number
for step in range(1_000_000):
    store.update(1, note="x" * (step % 500), message=str(step))
    print(step, flush=True)
"""


@pytest.mark.parametrize("after", [1, 5, 20])
def test_kill_in_the_midst_of_writing_leaves_what_was_acknowledged(
    store: RoundStore, workspace: Workspace, after: int
) -> None:
    add(store)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(workspace.root)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as writer:
        assert writer.stdout is not None
        acknowledged = -1
        try:
            while acknowledged < after:
                acknowledged = int(writer.stdout.readline())
        finally:
            writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split("\n")[:-1])])
    assert acknowledged <= int(store.get(1).message) <= acknowledged + 1
    assert add(RoundStore(workspace)).number == 2  # the lock died with its holder


def test_reader_never_sees_a_part(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(workspace.root)], stdout=subprocess.DEVNULL, cwd=ROOT
    ) as writer:
        try:
            seen: set[str] = set()
            reader = RoundStore(workspace)

            def read_on() -> bool:
                seen.add(reader.get(1).message)
                return len(seen) > 50

            await_true(read_on, "fifty states seen")
        finally:
            writer.kill()


def test_unchanged_file_is_not_read_again(
    store: RoundStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)
    other = RoundStore(workspace)
    other.rounds()
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail(f"{self} was read again"))
    for reader in (store, other):
        assert numbers(reader) == [1]
        assert reader.get(1).number == 1
    store.update(1, note="own change")
    assert store.get(1).note == "own change"


def test_rounds_read_together_are_those_read_one_by_one(store: RoundStore, workspace: Workspace) -> None:
    for path, rank in (("./data/own.json", 8), ("./data/own.json", 8), ("org/set", 16)):
        store.add(partial(make_round, spec=make_spec(data__path=path, lora__r=rank), note='"spec": {"lora": 1}'))
    document = json.loads(workspace.store_path.read_text())
    document["rounds"]["2"]["spec"]["lora"]["of_a_later_version"] = 1
    document["rounds"]["2"]["of_a_later_version"] = {"spec": {}}
    workspace.store_path.write_text(json.dumps(document))
    reader = RoundStore(workspace)
    together = reader.rounds()
    assert together == [reader.get(number) for number in (1, 2, 3)]
    assert together[0].spec.data.path == str(workspace.root / "data" / "own.json") == together[1].spec.data.path


def test_rounds_share_the_parts_of_their_specs_that_are_equal(store: RoundStore, workspace: Workspace) -> None:
    for rank in (8, 8, 16):
        store.add(partial(make_round, spec=make_spec(lora__r=rank)))
    first, second, third = RoundStore(workspace).rounds()
    assert first.spec is second.spec
    assert first.spec.train is third.spec.train
    assert first.plan is second.plan
    assert [round_.spec.lora.r for round_ in (first, second, third)] == [8, 8, 16]

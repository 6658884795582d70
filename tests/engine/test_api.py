from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Cockpit
from engine.errors import (
    DatasetError,
    LoratuiError,
    ModelError,
    ReadOnly,
    RoundError,
    SpecError,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreNewer,
)
from engine.files.paths import Workspace
from engine.runs.event_log import EventWriter
from engine.runs.events import Evaluated, Saved, Started, Stopped
from engine.runs.spec_file import QueuedRound
from engine.spec.overrides import spec_from_settings
from engine.spec.plan import make_plan
from engine.spec.round import Prediction, Result, Round, SecondsBesideSteps, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.store.trash import run_bytes
from engine.system.process import own_identity
from tests.support.rounds import change_spec, make_round, make_spec

STATUSES = list(Status)


def content(cockpit: Cockpit) -> bytes:
    return cockpit.workspace.store_path.read_bytes()


def run_dirs(cockpit: Cockpit) -> list[str]:
    runs = cockpit.workspace.runs_dir
    return sorted(path.name for path in runs.iterdir()) if runs.exists() else []


@pytest.fixture
def woken(workspace: Workspace) -> tuple[Cockpit, list[Workspace]]:
    """Operations and the list of times that a runner was asked for."""
    started: list[Workspace] = []
    return Cockpit(workspace, started.append), started


def test_queue_gives_number_plan_and_run_directory(woken: tuple[Cockpit, list[Workspace]], nano_spec: Spec) -> None:
    cockpit, started = woken
    round_ = cockpit.queue(nano_spec, name="first", note="why", parent=4)
    assert (round_.number, round_.status, round_.name, round_.note, round_.parent) == (
        *(1, Status.QUEUED, "first", "why", 4),
    )
    assert (round_.spec, round_.plan) == (nano_spec, make_plan(nano_spec, 40))
    assert cockpit.store.get(1) == round_
    assert run_dirs(cockpit) == [round_.id]
    written = msgspec.json.decode(cockpit.workspace.run_dir(round_.id).spec.read_bytes(), type=QueuedRound)
    for field in QueuedRound.__struct_fields__:
        assert getattr(written, field) == getattr(round_, field)
    assert started == [cockpit.workspace]


def test_prediction_stays_with_its_round(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    predicted = Prediction(
        device="Tesla T4", is_gpu=True, cards=("GPU-1",), family="llama", bits=16, peak_memory_bytes=9,
        counted_memory_bytes=8, least_memory_bytes=7, seconds=6.5, interval=(6.0, 7.0), tokens=5, disk_bytes=4,
    )  # fmt: skip
    round_ = idle_cockpit.queue(nano_spec, predicted=predicted)
    assert idle_cockpit.store.get(1).predicted == round_.predicted == predicted
    idle_cockpit.annotate(1, note="why")
    idle_cockpit.workspace.store_path.unlink()
    idle_cockpit.rebuild()
    assert idle_cockpit.store.get(1).predicted == predicted


def order(cockpit: Cockpit) -> list[int]:
    """The numbers of the rounds that wait, as their turns come."""
    return [round_.number for round_ in cockpit.waiting()]


def test_queue_is_put_in_the_order_that_is_asked_for(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    for hold in (False, False, True, False):
        idle_cockpit.queue(nano_spec, hold=hold)
    assert order(idle_cockpit) == [1, 2, 3, 4]
    idle_cockpit.move(4, 1)
    assert order(idle_cockpit) == [4, 1, 2, 3]
    idle_cockpit.move(1, 99)
    assert order(idle_cockpit) == [4, 2, 3, 1]
    idle_cockpit.shift(2, 1)
    assert order(idle_cockpit) == [4, 3, 2, 1]
    idle_cockpit.shift(2, -5)
    assert order(idle_cockpit) == [2, 4, 3, 1]
    assert idle_cockpit.run_next(3).status is Status.QUEUED
    assert order(idle_cockpit) == [3, 2, 4, 1]
    idle_cockpit.queue(nano_spec)
    assert order(idle_cockpit) == [3, 2, 4, 1, 5]


def test_held_round_keeps_its_place_and_a_resumed_one_goes_to_the_end(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    for _ in range(3):
        idle_cockpit.queue(nano_spec)
    idle_cockpit.hold(1)
    idle_cockpit.release(1)
    assert order(idle_cockpit) == [1, 2, 3]
    idle_cockpit.stop(1)
    idle_cockpit.resume(1)
    assert order(idle_cockpit) == [2, 3, 1]


def test_rounds_of_one_moment_can_be_moved_all_the_same(idle_cockpit: Cockpit, store: RoundStore) -> None:
    for _ in range(4):
        store.add(lambda number: make_round(number, Status.QUEUED, turn=None))
    for number, place in ((3, 1), (1, 4), (4, 2), (2, 1)):
        idle_cockpit.move(number, place)
        assert order(idle_cockpit)[place - 1] == number
    assert order(idle_cockpit) == [2, 3, 4, 1]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 7)), max_size=12))
def test_moving_is_what_moving_in_a_list_is(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int]]
) -> None:
    cockpit = Cockpit(Workspace(tmp_path_factory.mktemp("workspace")), lambda _: None)
    cockpit.store.create(tuple(make_round(number, Status.QUEUED, turn=1.0) for number in range(1, 6)))
    listed = [1, 2, 3, 4, 5]
    for number, place in moves:
        listed.remove(number)
        listed.insert(place - 1, number)
        cockpit.move(number, place)
        assert order(cockpit) == listed


def test_only_what_waits_has_a_place(idle_cockpit: Cockpit, store: RoundStore) -> None:
    store.add(lambda number: make_round(number, Status.RUNNING))
    acts: list[Callable[[], Round]] = [
        lambda: idle_cockpit.move(1, 1),
        lambda: idle_cockpit.shift(1, 1),
        lambda: idle_cockpit.run_next(9),
    ]
    for act in acts:
        with pytest.raises(RoundError, match=r"does not wait in the queue: `loratui queue` lists those that do"):
            act()
    with pytest.raises(RoundError, match="place 0 is not in the queue: 1 is the next to run"):
        idle_cockpit.move(1, 0)


def test_wish_to_stop_wakes_the_runner_that_passes_it_on(
    woken: tuple[Cockpit, list[Workspace]], store: RoundStore
) -> None:
    cockpit, started = woken
    store.add(lambda number: make_round(number, Status.RUNNING))
    assert cockpit.stop(1).status is Status.STOPPING
    assert started == [cockpit.workspace]


def test_held_round_wakes_no_runner(woken: tuple[Cockpit, list[Workspace]], nano_spec: Spec) -> None:
    cockpit, started = woken
    assert cockpit.queue(nano_spec, hold=True).status is Status.HELD
    assert started == []
    cockpit.release(1)
    assert started == [cockpit.workspace]


@pytest.mark.parametrize("status", STATUSES)
def test_runner_is_woken_for_what_waits_or_runs_only(woken: tuple[Cockpit, list[Workspace]], status: Status) -> None:
    cockpit, started = woken
    cockpit.store.add(lambda number: make_round(number, status))
    cockpit.runner.wake()
    waiting = status in (Status.QUEUED, Status.RUNNING, Status.STOPPING)
    assert started == [cockpit.workspace] * waiting


def test_warnings_of_the_plan_come_with_the_round(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    round_ = idle_cockpit.queue(change_spec(nano_spec, train__warmup_steps=500.0))
    assert len(round_.warnings) == 1 and "never reaches its peak" in round_.warnings[0]
    assert idle_cockpit.store.get(1).warnings == round_.warnings


@pytest.mark.parametrize(
    ("settings", "texts", "error"),
    [
        ({"data__path": "/no/rows.jsonl"}, {}, DatasetError),
        ({"model__path": "/no/model"}, {}, ModelError),
        ({"lora__target_modules": ("nope",)}, {}, SpecError),
        ({"data__samples": 41}, {}, DatasetError),
        ({"data__eval_fraction": 0.999}, {}, SpecError),
        ({}, {"name": "\udcff"}, SpecError),
        ({}, {"note": "a\ud800b"}, SpecError),
    ],
)
def test_round_that_cannot_be_trained_leaves_no_trace(
    idle_cockpit: Cockpit, nano_spec: Spec, settings: dict[str, Any], texts: dict[str, Any], error: type[Exception]
) -> None:
    before = content(idle_cockpit)
    with pytest.raises(error):
        idle_cockpit.queue(change_spec(nano_spec, **settings), **texts)
    assert content(idle_cockpit) == before
    assert run_dirs(idle_cockpit) == []


@pytest.mark.parametrize("refused_write", [1, 2])
def test_full_disk_leaves_no_trace(
    idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch, refused_write: int
) -> None:
    before = content(idle_cockpit)
    replace, calls = os.replace, []

    def refuse(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) == refused_write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refuse)
        with pytest.raises(StoreError, match="no space left"):
            idle_cockpit.queue(nano_spec)
    assert len(calls) == refused_write
    assert content(idle_cockpit) == before
    assert run_dirs(idle_cockpit) == []
    assert idle_cockpit.queue(nano_spec).number == 1


@pytest.mark.parametrize(("damage", "error"), [(b'{"schema": 9}', StoreNewer), (None, StoreMissing)])
def test_unusable_store_gets_no_run_directory(
    idle_cockpit: Cockpit, nano_spec: Spec, damage: bytes | None, error: type[Exception]
) -> None:
    idle_cockpit.workspace.store_path.unlink()
    if damage is not None:
        idle_cockpit.workspace.store_path.write_bytes(damage)
    with pytest.raises(error):
        idle_cockpit.queue(nano_spec)
    assert run_dirs(idle_cockpit) == []


ALLOWED: dict[str, dict[Status, Status | None]] = {
    "stop": {Status.QUEUED: Status.STOPPED, Status.HELD: Status.STOPPED, Status.RUNNING: Status.STOPPING},
    "resume": dict.fromkeys((Status.STOPPED, Status.FAILED, Status.INTERRUPTED), Status.QUEUED),
    "hold": {Status.QUEUED: Status.HELD},
    "release": {Status.HELD: Status.QUEUED},
    "remove": dict.fromkeys(set(Status) - {Status.RUNNING, Status.STOPPING}),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("operation", ALLOWED)
def test_operation_is_allowed_in_its_states_only(idle_cockpit: Cockpit, operation: str, status: Status) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, status))
    before = content(idle_cockpit)
    operate: Callable[[int], Round] = getattr(idle_cockpit, operation)
    if status not in ALLOWED[operation]:
        with pytest.raises(RoundError, match=f"round 1 is {status}"):
            operate(1)
        assert content(idle_cockpit) == before
        return
    operate(1)
    expected = ALLOWED[operation][status]
    assert [round_.status for round_ in idle_cockpit.store.rounds()] == ([expected] if expected else [])


@pytest.mark.parametrize("operation", ALLOWED)
def test_operation_on_nothing_is_refused(idle_cockpit: Cockpit, operation: str) -> None:
    with pytest.raises(RoundError, match="there is no round 5"):
        getattr(idle_cockpit, operation)(5)


def test_round_that_starts_while_it_is_stopped_is_stopped_all_the_same(
    idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = idle_cockpit.store.add(lambda number: make_round(number, Status.QUEUED)).number
    update = idle_cockpit.store.update

    def update_late(*arguments: Any, **changes: Any) -> Round:
        monkeypatch.undo()
        update(number, status=Status.RUNNING)  # the runner was quicker
        return update(*arguments, **changes)

    monkeypatch.setattr(idle_cockpit.store, "update", update_late)
    assert idle_cockpit.stop(number).status is Status.STOPPING


def test_resume_clears_the_old_ending(woken: tuple[Cockpit, list[Workspace]]) -> None:
    cockpit, started = woken
    cockpit.store.add(lambda number: make_round(number, Status.FAILED, message="no memory", ended=5.0))
    round_ = cockpit.resume(1)
    assert (round_.message, round_.ended) == ("", None)
    assert started == [cockpit.workspace]


def test_removed_round_comes_back_as_it_was(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    remaining, removed = idle_cockpit.queue(nano_spec), idle_cockpit.queue(nano_spec, note="why")
    files = sorted(idle_cockpit.workspace.run_dir(removed.id).path.rglob("*"))
    assert idle_cockpit.remove(removed.number) == removed
    assert idle_cockpit.store.rounds() == [remaining]
    assert Cockpit(idle_cockpit.workspace, lambda _: None).restore(removed.number) == removed
    assert idle_cockpit.store.rounds() == [remaining, removed]
    assert sorted(idle_cockpit.workspace.run_dir(removed.id).path.rglob("*")) == files
    idle_cockpit.empty_trash()
    assert idle_cockpit.store.rounds() == [remaining, removed] and run_dirs(idle_cockpit) == [remaining.id, removed.id]


def test_trash_is_listed_and_emptied(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    remaining, *removed = (idle_cockpit.queue(nano_spec, name=name) for name in "abc")
    for round_ in removed:
        idle_cockpit.remove(round_.number)
    assert [(each.number, each.name) for each in idle_cockpit.trash()] == [(3, "c"), (2, "b")]
    assert run_bytes(idle_cockpit.workspace, idle_cockpit.trash()[0]) > 0
    assert [each.number for each in idle_cockpit.empty_trash()] == [3, 2]
    assert run_dirs(idle_cockpit) == [remaining.id] and idle_cockpit.trash() == []
    with pytest.raises(RoundError, match="round 2 is not in the trash"):
        idle_cockpit.restore(2)


@pytest.mark.parametrize(
    ("starts", "remains"),
    [
        ((0.0,), True), ((6.9,), True), ((6.9, 7.9), True), ((7.1, 8.0), True), ((7.1, 8.2), False),
        ((400.0,), True), ((400.0, 1.0, 2.0), True), ((400.0, 1.0, 400.0), True), ((400.0, 401.1), False),
    ],
)  # fmt: skip
def test_trash_is_kept_for_a_week_and_through_a_day_of_a_wrong_clock(
    idle_cockpit: Cockpit,
    nano_spec: Spec,
    monkeypatch: pytest.MonkeyPatch,
    starts: tuple[float, ...],
    remains: bool,
) -> None:
    """`starts` is when apps start, in days by the clock after the deletion."""
    removed = idle_cockpit.queue(nano_spec)
    idle_cockpit.remove(removed.number)
    now = time.time()
    for days in starts:
        monkeypatch.setattr(time, "time", lambda days=days: now + days * 86400)
        Cockpit(idle_cockpit.workspace, lambda _: None).purge_trash()
    other = Cockpit(idle_cockpit.workspace, lambda _: None)
    assert (run_dirs(other) == [removed.id], bool(other.trash())) == (remains, remains)
    if remains:
        assert other.restore(removed.number) == removed


def test_round_deleted_while_the_clock_was_wrong_is_kept(
    idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a battery starts in 1970; its clock is set once there is a network."""
    removed = idle_cockpit.queue(nano_spec)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1000.0)
        idle_cockpit.remove(removed.number)
    idle_cockpit.purge_trash()
    assert idle_cockpit.restore(removed.number) == removed


@pytest.mark.parametrize("then", [1000.0, time.time() + 400 * 86400], ids=["behind", "ahead"])
def test_week_of_a_round_deleted_while_the_clock_was_wrong_begins_when_that_is_seen(
    idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch, then: float
) -> None:
    removed = idle_cockpit.queue(nano_spec)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: then)
        idle_cockpit.remove(removed.number)
    now = time.time()
    for days, remains in ((0, True), (6.9, True), (7.1, True), (8.2, False)):
        monkeypatch.setattr(time, "time", lambda days=days: now + days * 86400)
        idle_cockpit.purge_trash()
        assert bool(idle_cockpit.trash()) == bool(run_dirs(idle_cockpit)) == remains, days


def test_round_queued_while_the_clock_was_ahead_stays_in_the_trash_for_a_week(
    idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 400 * 86400)
        removed = idle_cockpit.queue(nano_spec)
    idle_cockpit.remove(removed.number)
    for days, remains in ((6.9, True), (7.1, True), (8.2, False)):
        monkeypatch.setattr(time, "time", lambda days=days: now + days * 86400)
        (listed,) = idle_cockpit.trash()
        assert listed.expires == pytest.approx(now + 7 * 86400, abs=60)
        idle_cockpit.purge_trash()
        assert bool(idle_cockpit.trash()) == bool(run_dirs(idle_cockpit)) == remains, days


def test_rebuild_brings_no_removed_round_back(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    remaining, removed = idle_cockpit.queue(nano_spec), idle_cockpit.queue(nano_spec)
    idle_cockpit.remove(removed.number)
    idle_cockpit.rebuild()
    assert idle_cockpit.store.rounds() == [remaining]
    assert idle_cockpit.restore(removed.number) == removed


def test_removed_round_comes_back_when_the_store_is_lost(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    removed = idle_cockpit.queue(nano_spec)
    idle_cockpit.remove(removed.number)
    lose_store(idle_cockpit)
    idle_cockpit.rebuild()
    assert [round_.id for round_ in idle_cockpit.store.rounds()] == [removed.id]


def lose_store(cockpit: Cockpit) -> None:
    for path in cockpit.workspace.root.glob("experiments.json*"):
        path.unlink()


def test_one_run_directory_that_cannot_be_deleted_keeps_no_other(
    idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, removed = idle_cockpit.queue(nano_spec), idle_cockpit.queue(nano_spec)
    for round_ in (stuck, removed):
        idle_cockpit.remove(round_.number)
    delete = shutil.rmtree

    def refuse(path: Path) -> None:
        if path.name == stuck.id:
            raise PermissionError(errno.EACCES, "Permission denied")
        delete(path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(
        StoreError, match=f"round 1 is deleted, but .*{stuck.id} could not be deleted: permission denied"
    ):
        idle_cockpit.empty_trash()
    assert run_dirs(idle_cockpit) == [stuck.id]


def test_annotations_stand_in_the_table_and_in_the_run_directory(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    round_ = idle_cockpit.queue(nano_spec, name="first", note="why")
    idle_cockpit.annotate(1, tags=["long", "lr", "long"], pinned=True)
    annotated = idle_cockpit.annotate(1, name="renamed")
    assert annotated == msgspec.structs.replace(round_, name="renamed", tags=("long", "lr"), pinned=True)
    lose_store(idle_cockpit)
    idle_cockpit.rebuild()
    again = idle_cockpit.store.get(1)
    assert (again.name, again.note, again.tags, again.pinned) == ("renamed", "why", ("long", "lr"), True)


@pytest.mark.parametrize("tag", ["", " ", "two words", "line\nbreak", " lr"])
def test_tag_that_is_no_single_word_is_refused(idle_cockpit: Cockpit, nano_spec: Spec, tag: str) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    with pytest.raises(SpecError, match="must be one word"):
        idle_cockpit.annotate(1, tags=["good", tag])
    assert idle_cockpit.store.get(1) == round_


def state(root: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in [root, *root.rglob("*")]}


def test_readonly_cockpit_changes_nothing(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    for hold in (False, True):
        idle_cockpit.queue(nano_spec, hold=hold)
    idle_cockpit.store.add(lambda number: make_round(number, Status.FAILED))
    idle_cockpit.remove(idle_cockpit.queue(nano_spec).number)
    root = idle_cockpit.workspace.root
    started: list[Workspace] = []
    for path in (*root.glob("*.lock"), *root.glob("*.bak*")):
        path.unlink()
    before = state(root)
    cockpit = Cockpit(idle_cockpit.workspace, started.append, readonly=True)
    acts: list[Callable[[], object]] = [
        lambda: cockpit.queue(nano_spec), lambda: cockpit.stop(1), lambda: cockpit.resume(3), lambda: cockpit.hold(1),
        lambda: cockpit.release(2), lambda: cockpit.move(1, 2), lambda: cockpit.run_next(2), lambda: cockpit.remove(1),
        lambda: cockpit.restore(4), lambda: cockpit.annotate(1, note="x"), cockpit.rebuild, cockpit.store.dismiss,
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(ReadOnly, match="is open for reading only"):
            act()
    cockpit.purge_trash()
    cockpit.runner.wake()
    assert [round_.number for round_ in cockpit.store.rounds()] == [1, 2, 3] and started == []
    assert state(root) == before


def test_readonly_cockpit_leaves_a_damaged_store_as_it_is(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.queue(nano_spec)
    path = idle_cockpit.workspace.store_path
    path.write_text("{")
    with pytest.raises(StoreDamaged):
        Cockpit(idle_cockpit.workspace, lambda _: None, readonly=True).store.rounds()
    assert path.read_text() == "{"


def test_remove_never_follows_a_link(idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    round_ = idle_cockpit.queue(nano_spec)
    run = idle_cockpit.workspace.run_dir(round_.id).path
    (run / "adapter").symlink_to(precious)
    (run / "thesis").symlink_to(precious / "thesis.tex")
    idle_cockpit.remove(round_.number)
    idle_cockpit.empty_trash()
    linked = idle_cockpit.queue(nano_spec)
    run = idle_cockpit.workspace.run_dir(linked.id).path
    shutil.rmtree(run)
    run.symlink_to(precious)
    idle_cockpit.remove(linked.number)
    idle_cockpit.empty_trash()
    assert not run.is_symlink()
    assert (precious / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("round_id", ["..", ".", "", "../../precious", "/etc", "a/b", "a\0b", "..\n"])
def test_round_id_that_leads_elsewhere_touches_nothing(idle_cockpit: Cockpit, round_id: str) -> None:
    idle_cockpit.workspace.runs_dir.mkdir()
    idle_cockpit.store.add(lambda number: make_round(number, id=round_id))
    before, files = content(idle_cockpit), sorted(idle_cockpit.workspace.root.rglob("*"))
    for operate in (idle_cockpit.remove, lambda number: idle_cockpit.annotate(number, note="x")):
        with pytest.raises(StoreError, match=r"round 1 in experiments\.json is not valid"):
            operate(1)
    assert content(idle_cockpit) == before
    assert sorted(idle_cockpit.workspace.root.rglob("*")) == files


def test_note_is_changed_in_table_and_run_directory(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    round_ = idle_cockpit.queue(nano_spec, note="before")
    assert idle_cockpit.annotate(1, note="after\nall").note == "after\nall"
    assert idle_cockpit.store.get(1) == msgspec.structs.replace(round_, note="after\nall")
    written = json.loads(idle_cockpit.workspace.run_dir(round_.id).spec.read_bytes())
    assert (written["note"], written["number"]) == ("after\nall", 1)


def test_note_of_an_imported_round_is_changed(reference_workspace: Workspace) -> None:
    cockpit = Cockpit(reference_workspace, lambda _: None)
    cockpit.annotate(3, note="seen anew")
    assert cockpit.store.get(3).note == "seen anew"
    assert not reference_workspace.runs_dir.exists()


def test_note_that_is_no_text_is_refused(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.queue(nano_spec)
    before = content(idle_cockpit)
    with pytest.raises(SpecError, match="not valid UTF-8"):
        idle_cockpit.annotate(1, note="\udcff")
    assert content(idle_cockpit) == before


def test_note_leaves_what_a_newer_version_wrote(
    idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = idle_cockpit.workspace.run_dir(idle_cockpit.queue(nano_spec).id).spec
    document = json.loads(file.read_bytes())
    document["tags"] = ["from", "tomorrow"]
    document["spec"]["lora"]["later"] = document["spec"]["later"] = document["plan"]["later"] = {"x": 1}
    file.write_text(json.dumps(document))
    stale, fresh = (file.with_name(f".spec.json.{digit * 16}.tmp") for digit in "01")
    for path in (stale, fresh):
        path.touch()
    os.utime(stale, (0, 0))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400)  # the clock of another machine wrote `fresh`
    idle_cockpit.annotate(1, note="why")
    assert (stale.exists(), fresh.exists()) == (False, True)
    assert json.loads(file.read_bytes()) == {**document, "note": "why"}
    for path in idle_cockpit.workspace.root.glob("experiments.json*"):
        path.unlink()
    assert idle_cockpit.rebuild()[0] == 1
    assert idle_cockpit.store.get(1).spec == nano_spec


def test_runner_that_cannot_be_started_does_not_undo_the_queueing(workspace: Workspace, nano_spec: Spec) -> None:
    """Or the person would queue the round again."""

    def refuse(_: Workspace) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    cockpit = Cockpit(workspace, refuse)
    assert cockpit.queue(nano_spec).number == 1
    assert [round_.status for round_ in cockpit.store.rounds()] == [Status.QUEUED]
    with pytest.raises(LoratuiError, match="no runner could be started, so nothing is trained: read-only file system"):
        cockpit.runner.wake()


def test_broken_spec_file_does_not_break_a_note(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    spec = idle_cockpit.workspace.run_dir(idle_cockpit.queue(nano_spec).id).spec
    spec.write_bytes(b"{broken")
    with pytest.raises(StoreError, match=r"is saved in experiments.json, but not in .*spec\.json"):
        idle_cockpit.annotate(1, note="x")
    assert spec.read_bytes() == b"{broken"


def write_run(cockpit: Cockpit, round_: Round, *, ended: bool) -> None:
    """Events of a run that took one step, and was stopped if `ended`."""
    run = cockpit.workspace.run_dir(round_.id)
    writer = EventWriter(run.events)
    writer.append(Started(time=10.0, process=own_identity()))
    writer.append(Evaluated(time=11.0, step=0, eval_loss=1.0, perplexity=2.72, supervised_tokens=9))
    if ended:
        writer.append(Saved(time=12.0, step=1, path="adapter", final=True))
        writer.append(Stopped(time=12.0, step=1, message="stopped after step 1"))
    writer.close()


@pytest.mark.parametrize("damage", [b"{broken", b'{"rounds": {"x": 1}}', None])
def test_rebuild_brings_the_rounds_back_from_their_directories(
    idle_cockpit: Cockpit, nano_spec: Spec, damage: bytes | None
) -> None:
    cockpit = idle_cockpit
    fresh, running, stopped = (cockpit.queue(nano_spec, name=name, note="n", parent=9) for name in ("a", "b", "c"))
    write_run(cockpit, running, ended=False)
    write_run(cockpit, stopped, ended=True)
    (cockpit.workspace.runs_dir / "stray").mkdir()
    (cockpit.workspace.runs_dir / "stray" / "spec.json").write_text("{}")
    for path in cockpit.workspace.root.glob("experiments.json*"):
        path.unlink()
    if damage is not None:
        cockpit.workspace.store_path.write_bytes(damage)
    count, aside = cockpit.rebuild()
    assert count == 3
    if damage is None:
        assert aside is None
    else:
        assert aside is not None and aside.read_bytes() == damage and aside.parent == cockpit.workspace.root
    assert cockpit.store.rounds() == [
        msgspec.structs.replace(fresh, status=Status.HELD),
        msgspec.structs.replace(
            running,
            status=Status.RUNNING,
            process=own_identity(),
            started=10.0,
            result=Result(base_perplexity=2.72),
        ),
        msgspec.structs.replace(
            stopped,
            status=Status.STOPPED,
            started=10.0,
            ended=12.0,
            message="stopped after step 1",
            result=Result(base_perplexity=2.72, adapter_dir=f"runs/{stopped.id}/adapter"),
            beside_steps=SecondsBesideSteps(evaluations=1.0, checkpoints=1.0),
        ),
    ]
    assert cockpit.queue(nano_spec).number == 4


def test_rebuild_keeps_what_only_the_old_file_knows(reference_workspace: Workspace, nano_spec: Spec) -> None:
    cockpit = Cockpit(reference_workspace, lambda _: None)
    cockpit.queue(nano_spec)
    last = cockpit.queue(nano_spec)
    cockpit.remove(last.number)
    before, old = cockpit.store.rounds(), content(cockpit)
    count, aside = cockpit.rebuild()
    assert (count, cockpit.store.rounds()) == (6, before)
    assert aside is not None and aside.read_bytes() == old
    assert cockpit.queue(nano_spec).number == last.number + 1


def test_rebuild_keeps_the_rounds_beside_a_broken_one(reference_workspace: Workspace) -> None:
    document = json.loads(reference_workspace.store_path.read_bytes())
    document["rounds"]["2"]["spec"] = "lost"
    reference_workspace.store_path.write_text(json.dumps(document))
    cockpit = Cockpit(reference_workspace, lambda _: None)
    count, aside = cockpit.rebuild()
    assert count == 4
    assert [round_.number for round_ in cockpit.store.rounds()] == [1, 3, 4, 5]
    assert aside is not None and json.loads(aside.read_bytes()) == document


def test_rebuilt_twice_in_a_second_keeps_both_old_files(idle_cockpit: Cockpit) -> None:
    workspace = idle_cockpit.workspace
    old_files = []
    for number in range(3):
        workspace.store_path.write_bytes(b"broken %d" % number)
        _, aside = idle_cockpit.rebuild()
        assert aside is not None
        old_files.append(aside)
    assert [aside.read_bytes() for aside in old_files] == [b"broken 0", b"broken 1", b"broken 2"]


def test_rebuild_that_fails_leaves_the_old_file(idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch) -> None:
    idle_cockpit.workspace.store_path.write_bytes(b"broken")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(StoreError, match="is as before"):
        idle_cockpit.rebuild()
    assert content(idle_cockpit) == b"broken"


def test_rebuild_makes_a_workspace_of_an_empty_directory(empty_directory: Path) -> None:
    cockpit = Cockpit(Workspace(empty_directory), lambda _: None)
    assert cockpit.rebuild() == (0, None)
    assert RoundStore(cockpit.workspace).rounds() == []


def test_settings_are_applied_in_order() -> None:
    spec = spec_from_settings(make_spec(), ["lora.r=4", " train.learning_rate = 1e-3", "lora.r=16", "data.samples="])
    assert (spec.lora.r, spec.train.learning_rate, spec.data.samples) == (16, 1e-3, None)
    assert spec.lora.lora_alpha == make_spec().lora.lora_alpha


def test_settings_alone_make_a_spec() -> None:
    spec = spec_from_settings(None, ["model.path=a=b", "data.path=d"])
    assert (spec.model.path, spec.data.path) == ("a=b", "d")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["lora.r"], "--set takes KEY=VALUE, for example --set lora.r=16, not 'lora.r'"),
        (["rank=4"], "no field 'rank'"),
        (["lora.r=0"], "lora.r is '0'"),
        (["data.path=d"], "model.path is empty"),
        ([], "model.path is empty"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec_from_settings(None, settings)


def test_number_of_a_round_stands_for_its_adapter(idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    spec = change_spec(nano_spec, lora__initial_adapter=str(round_.number))
    adapter = idle_cockpit.workspace.run_dir(round_.id).adapter
    assert idle_cockpit.resolve_paths(spec, tmp_path).lora.initial_adapter == str(adapter)
    with pytest.raises(SpecError, match=r"lora\.initial_adapter is 99: "):
        idle_cockpit.resolve_paths(change_spec(nano_spec, lora__initial_adapter="99"), tmp_path)

"""A damaged `experiments.json` is kept, and its rounds come back by themselves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.api import Cockpit
from engine.errors import StoreDamaged, StoreError, StoreNewer
from engine.files.paths import RunDir, Workspace
from engine.runs.event_log import EventWriter
from engine.runs.events import Started, Stopped
from engine.spec.round import ACTIVE, Round, SecondsBesideSteps, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.system.process import own_identity
from tests.support.rounds import NO_STORES, damage, make_round


def add(store: RoundStore, **fields: Any) -> Round:
    return store.add(lambda number: make_round(number, Status.FINISHED, **fields))


def asides(workspace: Workspace, ending: str = "damaged") -> list[Path]:
    return sorted(workspace.root.glob(f"experiments.json.*.{ending}"))


@pytest.fixture
def rounds(store: RoundStore) -> list[Round]:
    """Two rounds in the store, of which the backup has the first alone."""
    return [add(store, note="first"), add(store, note="second")]


@pytest.mark.parametrize("content", NO_STORES.values(), ids=NO_STORES)
def test_damaged_store_is_kept_and_comes_back_from_its_backup(
    store: RoundStore, workspace: Workspace, rounds: list[Round], content: bytes
) -> None:
    damage(workspace.store_path, content)
    assert store.rounds() == rounds[:1]
    (aside,) = asides(workspace)
    assert aside.read_bytes() == content
    (notice,) = store.notices()
    assert notice.startswith(f"{workspace.store_path} was damaged (")
    assert notice.endswith(f"is kept as {aside.name}: 1 round recovered from experiments.json.bak1 and runs/")
    assert "\n" not in notice
    assert RoundStore(workspace).rounds() == rounds[:1]
    assert add(store).number == 2
    assert len(asides(workspace)) == 1


ASKS: dict[str, Callable[[RoundStore], object]] = {
    "rounds": RoundStore.rounds,
    "get": lambda store: store.get(1),
    "add": add,
    "update": lambda store: store.update(1, note="x"),
    "update_each": lambda store: store.update_each(lambda rounds: {1: {"note": str(len(rounds))}}),
    "remove": lambda store: store.remove(1, ACTIVE),
    "notices": RoundStore.notices,
    "dismiss": RoundStore.dismiss,
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.usefixtures("rounds")
def test_whatever_is_asked_first_mends_it(
    store: RoundStore, workspace: Workspace, ask: Callable[[RoundStore], object]
) -> None:
    damage(workspace.store_path, b"{broken")
    ask(store)
    assert [aside.read_bytes() for aside in asides(workspace)] == [b"{broken"]
    assert all(round_.number == 1 or round_.number == 2 for round_ in store.rounds())


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("kept")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_huge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**40)
    os.utime(path, (0, 0))


@pytest.mark.parametrize(
    ("replace", "why"),
    [(make_directory, "it is a directory"), (make_pipe, "not a file but a pipe"), (make_huge, "more than 512 MiB")],
)
def test_what_is_no_file_at_all_is_moved_aside(
    store: RoundStore, workspace: Workspace, rounds: list[Round], replace: Callable[[Path], None], why: str
) -> None:
    replace(workspace.store_path)
    os.utime(workspace.store_path, (0, 0))
    was = workspace.store_path.stat()
    assert RoundStore(workspace).rounds() == rounds[:1]
    (aside,) = asides(workspace)
    assert (aside.stat().st_ino, aside.stat().st_size) == (was.st_ino, was.st_size)
    assert why in store.notices()[0]


def test_file_of_somebody_else_is_left_alone(empty_directory: Path) -> None:
    """Where loratui never wrote, an `experiments.json` is another program's."""
    workspace = Workspace(empty_directory)
    for content in NO_STORES.values():
        damage(workspace.store_path, content)
        for name, ask in ASKS.items():
            with pytest.raises(StoreError, match=r"damaged and was left as it is .*loratui rebuild") as caught:
                ask(RoundStore(workspace))
            assert "\n" not in caught.value.message, name
        assert workspace.store_path.read_bytes() == content
        assert [path.name for path in empty_directory.iterdir()] == ["experiments.json"]


def test_file_that_cannot_be_read_is_not_taken_for_a_damaged_one(
    store: RoundStore, workspace: Workspace, rounds: list[Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    for refusal in (PermissionError(13, "Permission denied"), OSError(5, "Input/output error")):

        def refuse(*_: object, error: OSError = refusal, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("engine.files.atomic.os.open", refuse)
            with pytest.raises(StoreError, match=r"cannot be read: (permission denied|input/output error)") as caught:
                RoundStore(workspace).rounds()
            assert not isinstance(caught.value, StoreDamaged)
    assert asides(workspace) == []
    assert store.rounds() == rounds


def test_file_of_a_newer_version_is_read_and_not_written(
    store: RoundStore, workspace: Workspace, rounds: list[Round]
) -> None:
    document = json.loads(workspace.store_path.read_bytes())
    document["meta"]["1"]["schema"] = 2
    workspace.store_path.write_text(json.dumps(document))
    before = workspace.store_path.read_bytes()
    assert store.rounds() == rounds
    assert ["schema 2, this one knows 1" in notice for notice in store.notices()] == [True]
    for name in ("add", "update", "update_each", "remove"):
        with pytest.raises(StoreNewer, match="so this one cannot change it: update loratui"):
            ASKS[name](store)
    with pytest.raises(StoreNewer):
        store.rebuild()
    assert workspace.store_path.read_bytes() == before
    assert asides(workspace) == asides(workspace, "old") == []


@pytest.mark.parametrize(
    "content",
    [b'{"rounds": [], "meta": {"1": {"schema": 2}}}', b'{"schema": 7, "anything": 1}', b'{"meta": {"schema": 2}}'],
)
@pytest.mark.usefixtures("rounds")
def test_layout_that_only_a_newer_version_knows_is_left_alone(
    store: RoundStore, workspace: Workspace, content: bytes
) -> None:
    damage(workspace.store_path, content)
    for ask in ASKS.values():
        with pytest.raises(StoreNewer):
            ask(store)
    assert workspace.store_path.read_bytes() == content
    assert asides(workspace) == []


def test_one_broken_round_does_not_take_the_others_along(
    store: RoundStore, workspace: Workspace, rounds: list[Round]
) -> None:
    third = add(store)
    document = json.loads(workspace.store_path.read_bytes())
    document["rounds"]["2"]["spec"]["lora"]["r"] = "many"
    broken = document["rounds"]["2"]
    damage(workspace.store_path, json.dumps(document).encode())
    assert store.rounds() == [rounds[0], third]
    assert ["round 2 in experiments.json is not valid" in notice for notice in store.notices()] == [True]
    with pytest.raises(StoreError, match=r"round 2 in experiments\.json is not valid.*lora\.r"):
        store.get(2)
    store.update(1, note="changed")
    assert add(store).number == 4
    assert json.loads(workspace.store_path.read_bytes())["rounds"]["2"] == broken
    document["rounds"]["2"]["spec"]["lora"]["r"] = 8
    damage(workspace.store_path, json.dumps(document).encode())
    assert store.notices() == []
    assert store.rounds() == [*rounds, third]


def test_number_that_is_too_large_to_hold_is_never_rounded(
    store: RoundStore, workspace: Workspace, rounds: list[Round]
) -> None:
    """A newer version may write such a one; here it is read past, and kept as it stands."""
    whole = workspace.store_path.read_bytes()
    refused: dict[bytes, list[str]] = {b'"number": 1,': ["update", "update_each"], b'"schema": 1,': ["remove"]}
    for place, names in refused.items():
        for number in (b"9" * 5000, b"1e400"):
            content = whole.replace(place, place + b' "later": %s,' % number)
            damage(workspace.store_path, content)
            assert store.rounds() == rounds
            for name in names:
                with pytest.raises(StoreError, match=r"has a value that cannot be written, and is as before: .* range"):
                    ASKS[name](store)
            assert workspace.store_path.read_bytes() == content
            assert store.update(2, note="y").note == "y"
            assert number in workspace.store_path.read_bytes()
            store.update(2, note="second")
    assert asides(workspace) == []


def test_round_under_the_number_of_another_does_not_hold_together(
    store: RoundStore, workspace: Workspace, rounds: list[Round]
) -> None:
    document = json.loads(workspace.store_path.read_bytes())
    document["rounds"]["7"] = document["rounds"]["2"]
    damage(workspace.store_path, json.dumps(document).encode())
    assert store.rounds() == rounds
    assert ["round 7" in notice for notice in store.notices()] == [True]


def test_notice_stays_until_it_is_dismissed_anywhere(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    damage(workspace.store_path, b"{")
    other = RoundStore(workspace)
    assert len(other.notices()) == 1
    store.update_each(lambda _: {})
    add(store)
    assert store.notices() == other.notices() != []
    store.dismiss()
    assert store.notices() == other.notices() == []


def test_second_damage_does_not_hide_the_first(store: RoundStore, workspace: Workspace) -> None:
    for content in (b"one", b"two"):
        add(store)
        add(store)
        damage(workspace.store_path, content)
        store.rounds()
        add(store)
    assert sorted(aside.read_bytes() for aside in asides(workspace)) == [b"one", b"two"]
    assert len(store.notices()) == 2


def test_damaged_backup_is_passed_over_for_an_older_one(store: RoundStore, workspace: Workspace) -> None:
    rounds = [add(store), add(store), add(store)]
    damage(workspace.root / "experiments.json.bak1", b"{")
    damage(workspace.store_path, b"{")
    assert store.rounds() == rounds[:1]
    assert "recovered from experiments.json.bak2" in store.notices()[0]


def test_half_written_file_is_waited_for(
    store: RoundStore, workspace: Workspace, rounds: list[Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor that writes in place is not taken for damage while it does."""
    whole = workspace.store_path.read_bytes()
    workspace.store_path.write_bytes(whole[:100])
    waited: list[float] = []

    def write_the_rest(seconds: float) -> None:
        waited.append(seconds)
        damage(workspace.store_path, whole)

    monkeypatch.setattr("engine.store.json_storage.time.sleep", write_the_rest)
    assert store.rounds() == rounds
    assert len(waited) == 1
    assert asides(workspace) == []


def begin(cockpit: Cockpit, round_: Round, *, ended: bool) -> None:
    """The events of a run that was taken up, and was stopped if `ended`."""
    writer = EventWriter(cockpit.workspace.run_dir(round_.id).events)
    writer.append(Started(time=10.0, process=own_identity()))
    if ended:
        writer.append(Stopped(time=12.0, step=0, message="stopped at once"))
    writer.close()


def test_run_directories_have_the_last_word_on_what_a_backup_says(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    store, path = idle_cockpit.store, idle_cockpit.workspace.store_path
    waiting, ran, runs, noted = (idle_cockpit.queue(nano_spec, name=name) for name in "abcd")
    store.update(ran.number, warnings=("w",))
    begin(idle_cockpit, ran, ended=True)
    begin(idle_cockpit, runs, ended=False)
    idle_cockpit.annotate(noted.number, note="why")
    damage(path, b"{")
    assert store.rounds() == [
        waiting,
        msgspec.structs.replace(
            ran,
            status=Status.STOPPED,
            message="stopped at once",
            started=10.0,
            ended=12.0,
            warnings=("w",),
            beside_steps=SecondsBesideSteps(),
        ),
        msgspec.structs.replace(runs, status=Status.RUNNING, started=10.0, process=own_identity()),
        msgspec.structs.replace(noted, note="why"),
    ]


def test_last_round_comes_back_from_its_directory(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    first, second = idle_cockpit.queue(nano_spec), idle_cockpit.queue(nano_spec, note="n")
    damage(idle_cockpit.workspace.store_path, b"{")
    assert idle_cockpit.store.rounds() == [first, msgspec.structs.replace(second, status=Status.HELD)]
    assert idle_cockpit.queue(nano_spec).number == 3


@pytest.mark.parametrize("stored", [True, False])
def test_two_runs_of_one_number_are_both_kept(idle_cockpit: Cockpit, nano_spec: Spec, stored: bool) -> None:
    """As after two workspaces were copied into one, or a crash between writing a run directory and the store."""
    workspace = idle_cockpit.workspace
    first, second = idle_cockpit.queue(nano_spec, note="a"), idle_cockpit.queue(nano_spec, note="b")
    copied: list[RunDir] = []
    for suffix, note in (("x", "later"), ("y", "latest")):
        copy = workspace.run_dir(f"0001-{suffix}")
        shutil.copytree(workspace.run_dir(first.id).path, copy.path)
        fields = json.loads(copy.spec.read_bytes())
        assert first.created is not None
        fields |= {"note": note, "created": first.created + len(copied) + 1}
        copy.spec.write_text(json.dumps(fields))
        copied.append(copy)
    if not stored:
        for path in workspace.root.glob("experiments.json*"):
            path.unlink()
    count, _ = idle_cockpit.rebuild()
    assert count == 4
    rounds = idle_cockpit.store.rounds()
    assert [(item.number, item.id, item.note) for item in rounds] == [
        (1, first.id, "a"),
        (2, second.id, "b"),
        (3, "0001-x", "later"),
        (4, "0001-y", "latest"),
    ]
    assert (
        "round 1 of runs/0001-x is round 3 now, round 1 of runs/0001-y is round 4 now"
        in idle_cockpit.store.notices()[0]
    )
    assert idle_cockpit.rebuild()[0] == 4
    assert idle_cockpit.store.rounds() == rounds
    assert idle_cockpit.queue(nano_spec).number == 5


@pytest.mark.parametrize("number", [0, -3, 10**15, 10**30])
def test_run_of_an_impossible_number_gets_another(idle_cockpit: Cockpit, nano_spec: Spec, number: int) -> None:
    run = idle_cockpit.workspace.run_dir(idle_cockpit.queue(nano_spec).id)
    fields = json.loads(run.spec.read_bytes())
    run.spec.write_text(json.dumps(fields | {"number": number}))
    for path in idle_cockpit.workspace.root.glob("experiments.json*"):
        path.unlink()
    idle_cockpit.rebuild()
    assert [round_.number for round_ in idle_cockpit.store.rounds()] == [1]


HOSTILE_SPECS: dict[str, bytes | None] = {
    "empty": b"",
    "other": b"{}",
    "deep": b'{"a":' * 100_000,
    "not UTF-8": b"\xff",
    "pipe": None,
}


@pytest.mark.parametrize("content", HOSTILE_SPECS.values(), ids=HOSTILE_SPECS)
def test_run_whose_spec_cannot_be_read_is_passed_over(
    idle_cockpit: Cockpit, nano_spec: Spec, content: bytes | None
) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    spec = idle_cockpit.workspace.run_dir("0002-x").spec
    spec.parent.mkdir()
    if content is None:
        os.mkfifo(spec)
    else:
        spec.write_bytes(content)
    assert idle_cockpit.rebuild()[0] == 1
    assert idle_cockpit.store.rounds() == [round_]


def test_rebuild_takes_a_broken_round_from_the_backup(
    store: RoundStore, workspace: Workspace, rounds: list[Round]
) -> None:
    third = add(store)
    document = json.loads(workspace.store_path.read_bytes())
    document["rounds"]["2"]["plan"] = 5
    damage(workspace.store_path, json.dumps(document).encode())
    assert store.rebuild()[0] == 3
    assert store.rounds() == [*rounds, third]
    assert store.notices() == []


def test_last_number_that_makes_no_sense_is_passed_over(store: RoundStore, workspace: Workspace) -> None:
    add(store)
    for number in (-5, "7", None, 10**18, True, 1.5, 10**30):
        document = json.loads(workspace.store_path.read_bytes())
        document["meta"]["1"]["last_number"] = number
        before = store.rounds()[-1].number
        damage(workspace.store_path, json.dumps(document).encode())
        assert add(store).number == before + 1

"""F1, F3: the store beside a plain dict, through two handles, new ones, crashes, foreign fields and damage."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.errors import RoundError
from engine.files.paths import Workspace
from engine.spec.round import Result, Status
from engine.store.round_store import RoundStore
from tests.support.faults.tried import Tried
from tests.support.rounds import make_round

Times = Callable[[int, int], int]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=5).map("later_".__add__)
values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts | st.lists(texts, max_size=2)
PARTS = [(), ("spec",), ("spec", "lora"), ("plan",), ("result",), ("result",)]


class Crash(BaseException):
    """The process is gone."""


class StoreBesideDict(RuleBasedStateMachine):
    """`expected` holds what each document must be, as JSON, `removed` that of deleted rounds.

    `given` is the highest number that was ever given.
    """

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="loratui-store-"))
        self.expected: dict[int, dict[str, Any]] = {}
        self.removed: dict[int, dict[str, Any]] = {}
        self.tables: dict[str, Any] = {}
        self.given = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def open(self) -> RoundStore:
        return RoundStore(Workspace(self.root))

    @initialize()
    def create(self) -> None:
        self.open().create()
        self.handles = [self.open(), self.open()]

    @property
    def path(self) -> Path:
        return self.root / "experiments.json"

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_bytes())
        return found

    @rule(handle=st.integers(0, 1))
    def reopen(self, handle: int) -> None:
        self.handles[handle] = self.open()

    @rule(handle=st.integers(0, 1), note=texts)
    def add(self, handle: int, note: str) -> None:
        added = self.handles[handle].add(lambda number: make_round(number, Status.HELD, note=note))
        self.given += 1
        assert added.number == self.given
        self.expected[added.number] = self.document()["rounds"][str(added.number)]
        assert self.expected[added.number]["note"] == note

    @precondition(lambda self: self.expected)
    @rule(handle=st.integers(0, 1), data=st.data(), note=texts, loss=st.none() | st.floats(0, 10))
    def update(self, handle: int, data: st.DataObject, note: str, loss: float | None) -> None:
        number = data.draw(st.sampled_from(sorted(self.expected)))
        after = self.handles[handle].update(number, note=note, status=Status.STOPPED, result=Result(eval_loss=loss))
        assert (after.note, after.status, after.result.eval_loss) == (note, Status.STOPPED, loss)
        wanted = self.expected[number]
        wanted |= {"note": note, "status": "stopped"}
        wanted["result"] = {**wanted["result"], **msgspec.to_builtins(Result(eval_loss=loss))}

    @precondition(lambda self: self.expected)
    @rule(handle=st.integers(0, 1), data=st.data(), note=texts)
    def update_each(self, handle: int, data: st.DataObject, note: str) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.expected))))
        after = self.handles[handle].update_each(lambda rounds: {number: {"note": note} for number in chosen})
        for number in chosen:
            self.expected[number]["note"] = note
        assert [round_.note for round_ in after] == [self.expected[number]["note"] for number in sorted(self.expected)]

    @precondition(lambda self: self.expected)
    @rule(handle=st.integers(0, 1), data=st.data())
    def remove(self, handle: int, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.expected)))
        assert self.handles[handle].remove(number, frozenset()).number == number
        self.removed[number] = self.expected.pop(number)

    @precondition(lambda self: self.removed)
    @rule(handle=st.integers(0, 1), data=st.data())
    def restore(self, handle: int, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.removed)))
        assert self.handles[handle].restore(number).number == number
        self.expected[number] = self.removed.pop(number)

    @precondition(lambda self: self.removed)
    @rule(handle=st.integers(0, 1), data=st.data())
    def forget(self, handle: int, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.removed)))
        self.handles[handle].forget([number])
        del self.removed[number]
        with pytest.raises(RoundError):
            self.handles[handle].restore(number)

    @rule(handle=st.integers(0, 1), number=st.integers(-1, 50))
    def ask_for_one(self, handle: int, number: int) -> None:
        if number in self.expected:
            assert self.handles[handle].get(number).note == self.expected[number]["note"]
        else:
            with pytest.raises(RoundError):
                self.handles[handle].update(number, note="x")

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), part=st.sampled_from(PARTS), name=names, value=values)
    def newer_version_adds_a_field(self, data: st.DataObject, part: tuple[str, ...], name: str, value: object) -> None:
        number = data.draw(st.sampled_from(sorted(self.expected)))
        document = self.document()
        for fields in (document["rounds"][str(number)], self.expected[number]):
            for step in part:
                fields = fields[step]
            fields[name] = value
        self.path.write_text(json.dumps(document))

    @rule(name=names, record=st.dictionaries(names, values, max_size=2), meta=st.booleans())
    def newer_version_adds_a_table(self, name: str, record: dict[str, object], meta: bool) -> None:
        document = self.document()
        if meta:
            document["meta"]["1"] |= record
            self.tables.setdefault("meta", {}).update(record)
        else:
            document[name] = {"7": record}
            self.tables[name] = record
        self.path.write_text(json.dumps(document))

    @rule(
        handle=st.integers(0, 1),
        at=st.sampled_from(["replace", "fsync", "link", "utime"]),
        late=st.booleans(),
    )
    def crash_in_a_write(self, handle: int, at: str, late: bool) -> None:
        """Before or after a call; whatever the write was, the next handle finds it done or not done."""

        def crash(*arguments: Any, **named: Any) -> None:
            if late:
                call(*arguments, **named)
            raise Crash

        call: Callable[..., object] = getattr(os, at)
        before = self.document()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, at, crash)
            try:
                self.handles[handle].add(lambda number: make_round(number, Status.HELD))
            except Crash:
                self.handles[handle] = self.open()
        after = self.document()
        added = after["rounds"].keys() - before["rounds"].keys()
        assert {name: after["rounds"][name] for name in before["rounds"]} == before["rounds"]
        for key in added:
            self.given += 1
            assert int(key) == self.given
            self.expected[int(key)] = after["rounds"][key]

    @invariant()
    def file_and_both_handles_agree_with_the_dict(self) -> None:
        type(self).steps += 1
        if not hasattr(self, "handles"):
            return
        document = self.document()
        assert document["rounds"] == {str(number): fields for number, fields in self.expected.items()}
        assert [item.number for item in self.handles[0].removed()] == sorted(self.removed)
        for name, record in self.tables.items():
            found = document[name]["1" if name == "meta" else "7"]
            assert {field: found[field] for field in record} == record
        for handle in self.handles:
            assert [round_.number for round_ in handle.rounds()] == sorted(self.expected)
            assert handle.notices() == []


def test_store_beside_a_dict(times: Times, tried: Tried) -> None:
    StoreBesideDict.steps = 0
    lost = 1
    try:
        run_state_machine_as_test(
            StoreBesideDict, settings=settings(max_examples=times(12, 150), stateful_step_count=30)
        )
        lost = 0
    finally:
        how = "the store beside a dict: two handles, crashes, a newer version's fields"
        tried("F3", how, StoreBesideDict.steps, lost)

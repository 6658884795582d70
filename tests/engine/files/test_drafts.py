"""Drafts on disk: found again by another app, each in a file of its own, and nothing but drafts is offered."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.files import drafts as module
from engine.files.drafts import MAX_AGE_SECONDS, MAX_BYTES, Drafts, drafts_path
from engine.files.paths import Workspace
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round
from tests.support.waiting import await_true

NOTE = "note of 0001-00c0ffee"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def sentences() -> list[str]:
    return []


@pytest.fixture
def app(tmp_path: Path, sentences: list[str]) -> Callable[[], Drafts]:
    """The drafts of one workspace as another app has them."""

    def start() -> Drafts:
        drafts = Drafts(tmp_path / "workspace")
        drafts.report = sentences.append
        return drafts

    return start


def texts(drafts: Drafts, field: str = NOTE) -> list[str]:
    return [draft.texts["text"] for draft in drafts.offered(field)]


def type_in(drafts: Drafts, text: str, field: str = NOTE) -> None:
    drafts.edit(field).keep({"text": text})
    drafts.flush()


def test_draft_is_offered_at_once_and_after_the_end_of_the_app(app: Callable[[], Drafts]) -> None:
    first = app()
    drafting = first.edit(NOTE)
    drafting.keep({"text": "h"})
    drafting.keep({"text": "ha"})
    assert texts(first) == ["ha"]
    assert first.flush() and not first.unwritten
    assert texts(app()) == ["ha"]
    drafting.drop()
    assert texts(first) == []
    first.flush()
    assert texts(app()) == []


def test_draft_is_written_soon_without_being_told_to(app: Callable[[], Drafts]) -> None:
    first = app()
    first.edit(NOTE).keep({"text": "typed"})
    await_true(lambda: not first.unwritten, "the write")
    assert texts(app()) == ["typed"]


def test_draft_belongs_to_its_field_and_workspace(app: Callable[[], Drafts], tmp_path: Path) -> None:
    type_in(app(), "one")
    assert texts(app(), "note of 0002-00c0ffee") == []
    assert texts(Drafts(tmp_path / "other")) == []


def test_drafts_stay_where_they_were_when_the_app_started(
    app: Callable[[], Drafts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = app()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    type_in(first, "one")
    assert texts(first) == ["one"] and texts(app()) == []
    assert not (tmp_path / "another").exists()


@pytest.fixture
def typed_in(store: RoundStore, workspace: Workspace) -> Cockpit:
    """A workspace with a round, and a draft of its note."""
    cockpit = Cockpit(workspace)
    store.add(make_round)
    type_in(cockpit.drafts, "typed")
    return cockpit


def test_draft_follows_a_workspace_that_is_moved(typed_in: Cockpit, workspace: Workspace, tmp_path: Path) -> None:
    moved = Workspace(workspace.root.rename(tmp_path / "moved"))
    assert texts(Cockpit(moved).drafts) == texts(Cockpit(moved, readonly=True).drafts) == ["typed"]
    type_in(Cockpit(moved).drafts, "another")
    assert texts(Cockpit(moved).drafts) == ["another", "typed"]


def test_draft_does_not_follow_a_copy(typed_in: Cockpit, workspace: Workspace, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(workspace.root, tmp_path / "copy"))
    assert texts(Cockpit(Workspace(copy)).drafts) == []
    assert texts(Cockpit(workspace).drafts) == ["typed"]


def test_draft_is_of_no_other_workspace_that_has_come_in_the_place_of_one(
    typed_in: Cockpit, workspace: Workspace, tmp_path: Path
) -> None:
    shutil.rmtree(workspace.root)
    (tmp_path / "new").mkdir()
    new = Cockpit(Workspace(tmp_path / "new"))
    new.store.create()
    assert texts(new.drafts) == []


def test_draft_of_an_earlier_version_is_offered(app: Callable[[], Drafts], tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    prefix = hashlib.sha256(f"{root}\0{NOTE}".encode()).hexdigest()[:24]
    drafts_path().mkdir(parents=True)
    draft = {"workspace": str(root), "field": NOTE, "texts": {"text": "earlier"}, "time": 1.0, "name": ""}
    (drafts_path() / f"{prefix}-0123456789abcdef.json").write_text(json.dumps(draft))
    assert texts(app()) == ["earlier"]


def test_workspace_whose_name_is_not_utf8_has_drafts(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    type_in(Drafts(root), "typed")
    assert texts(Drafts(root)) == ["typed"]


def test_two_apps_do_not_overwrite_each_other_and_the_newest_comes_first(app: Callable[[], Drafts]) -> None:
    first, second = app(), app()
    type_in(first, "one")
    type_in(second, "two")
    assert texts(first) == ["two", "one"]


def test_draft_that_is_continued_is_replaced(app: Callable[[], Drafts]) -> None:
    type_in(app(), "one")
    later = app()
    drafting = later.edit(NOTE, later.offered(NOTE))
    assert texts(later) == ["one"]
    drafting.keep({"text": "one and more"})
    assert texts(later) == ["one and more"]
    later.flush()
    assert texts(app()) == ["one and more"]
    drafting.drop()
    later.flush()
    assert texts(app()) == []


def test_files_are_for_their_owner_alone_whatever_the_umask(app: Callable[[], Drafts]) -> None:
    umask = os.umask(0)
    try:
        type_in(app(), "secret")
    finally:
        os.umask(umask)
    (file,) = drafts_path().iterdir()
    assert (file.stat().st_mode & 0o777, drafts_path().stat().st_mode & 0o777) == (0o600, 0o700)


def test_tokens_are_not_written_down(app: Callable[[], Drafts]) -> None:
    token = "hf_" + "a1B2" * 9
    type_in(app(), f"with {token}")
    (file,) = drafts_path().iterdir()
    assert token not in file.read_text()
    assert texts(app()) == ["with [redacted]"]


def test_lone_surrogate_loses_nothing_else(app: Callable[[], Drafts]) -> None:
    type_in(app(), "a\udc80b")
    assert texts(app()) == ["a?b"]


def test_old_and_excess_drafts_are_removed(app: Callable[[], Drafts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DRAFTS", 3)
    for number in range(4):
        type_in(app(), str(number))
        newest = max(drafts_path().iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (time.time() - 100 + number,) * 2)
    oldest = min(drafts_path().iterdir(), key=lambda path: path.stat().st_mtime)
    os.utime(oldest, (time.time() - MAX_AGE_SECONDS - 1,) * 2)
    killed = drafts_path() / f".{oldest.name}.0123456789abcdef.tmp"
    stranger = drafts_path() / "notes.txt"
    for path in (killed, stranger):
        path.write_text("x")
        os.utime(path, (0, 0))
    type_in(app(), "new")
    assert texts(app())[0] == "new" and "0" not in texts(app()) and len(texts(app())) <= 4
    assert (killed.exists(), stranger.exists()) == (False, True)


def test_clock_that_is_far_ahead_removes_no_draft(app: Callable[[], Drafts], monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(app(), "one")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 73 * 365 * 86400)
    type_in(app(), "two")
    assert texts(app()) == ["two", "one"]


def test_draft_that_is_too_long_is_refused_in_a_sentence(app: Callable[[], Drafts], sentences: list[str]) -> None:
    drafts = app()
    type_in(drafts, "x" * (MAX_BYTES + 1))
    assert drafts.unwritten
    assert len(sentences) == 1 and "larger than 1 MiB" in sentences[0]


def test_person_without_a_home_is_told_once_what_to_set(
    app: Callable[[], Drafts], sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "user_state_path", lambda _: Path("~/.local/state/loratui"))
    drafts = app()
    type_in(drafts, "one")
    type_in(drafts, "two")
    assert drafts.unwritten and sentences == [
        "drafts cannot be kept: set HOME or XDG_STATE_HOME to a directory of yours"
    ]
    assert texts(drafts) == ["two", "one"]  # as long as this app runs

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.schema import Spec
from tui.cli.main import main


@pytest.fixture
def deleted(idle_cockpit: Cockpit, nano_spec: Spec, capsys: pytest.CaptureFixture[str]) -> Path:
    """The run directory of a round that was deleted on the command line."""
    round_ = idle_cockpit.queue(nano_spec, name="first")
    path = idle_cockpit.workspace.run_dir(round_.id).path
    (path / "weights").write_bytes(bytes(1 << 20))
    assert loratui(idle_cockpit.workspace, "rm", "1") == 0
    assert capsys.readouterr().out == ("round 1 is in the trash for a week: `loratui trash restore 1` brings it back\n")
    return path


def loratui(workspace: Workspace, *words: str) -> int:
    return main([*words, "--workspace", str(workspace.root)], lambda _: None)


def test_deleted_round_comes_back(workspace: Workspace, deleted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert loratui(workspace, "trash", "restore", "1") == 0
    assert capsys.readouterr().out == "round 1 is back, and is queued\n"
    assert deleted.is_dir() and [round_.name for round_ in Cockpit(workspace).store.rounds()] == ["first"]
    assert loratui(workspace, "trash", "restore", "1") == 2
    assert "round 1 is not in the trash" in capsys.readouterr().err


def test_deletion_says_how_much_the_trash_occupies_if_it_is_much(
    idle_cockpit: Cockpit, nano_spec: Spec, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.api.run_bytes", lambda *_: 3 * 1024**3)
    idle_cockpit.queue(nano_spec)
    assert loratui(idle_cockpit.workspace, "rm", "1") == 0
    assert "the trash occupies 3.0 GiB: `loratui trash empty` frees it\n" in capsys.readouterr().out


def test_trash_is_listed(workspace: Workspace, deleted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert loratui(workspace, "trash") == 0
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["#", "name", "size", "deleted", "kept", "until"]
    assert row.split()[:4] == ["1", "first", "1", "MiB"]
    assert loratui(workspace, "trash", "--json") == 0
    (fields,) = json.loads(capsys.readouterr().out)
    assert (fields["number"], fields["name"], fields["id"]) == (1, "first", deleted.name)
    assert fields["bytes"] >= 1 << 20 and fields["expires"] == fields["removed"] + 7 * 86400
    assert abs(fields["removed"] - time.time()) < 600


def test_trash_is_emptied(workspace: Workspace, deleted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert loratui(workspace, "trash", "empty") == 0
    assert capsys.readouterr().out == "1 round is deleted for good; 1 MiB of the disk are free again\n"
    assert not deleted.exists()
    for words in (["trash", "empty"], ["trash"]):
        assert loratui(workspace, *words) == 0
        assert capsys.readouterr().out == "the trash is empty\n"

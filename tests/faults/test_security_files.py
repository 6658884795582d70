"""Paths and links that lead out of the workspace."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.api import Cockpit
from engine.errors import RoundError, StoreError
from engine.files.paths import RunDir, Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Failed, Saved, decode_event
from engine.runs.snapshot import RunSnapshot, result_of
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.faults.tried import Tried
from tests.support.rounds import make_round

LEADING_OUT = [
    *("..", ".", "", "../..", "/etc", "/", "a/b", "a/../..", "..\\..", "a\0b", "\0", "-rf", ".hidden", "~", "~root"),
    *("*", "a\nb", "a b", "runs\r", "\u202e0001", "0001\u2215x", "CON/..", "%2e%2e", "$HOME", "`id`", "a;b"),
    "a" * 5000 + "/",
]


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """What lies beside the workspace and is to stay as it is."""
    directory = tmp_path / "precious"
    directory.mkdir()
    (directory / "thesis.tex").write_text("years of work")
    (directory / "checkpoint-1").mkdir()
    (directory / "checkpoint-1" / "thesis.tex").write_text("years of work")
    return directory


def is_whole(precious: Path) -> bool:
    files = sorted(path for path in precious.rglob("*") if path.is_file())
    return len(files) == 2 and all(file.read_text() == "years of work" for file in files)


@pytest.mark.parametrize("round_id", LEADING_OUT)
def test_round_id_that_leads_out_names_no_directory(
    workspace: Workspace, precious: Path, tried: Tried, round_id: str
) -> None:
    """As a store from somewhere else may have it."""
    store = RoundStore(workspace)
    store.add(lambda number: make_round(number, Status.STOPPED, id=round_id))
    with pytest.raises(RoundError):
        workspace.run_dir(round_id)
    with pytest.raises(StoreError):
        Cockpit(workspace, lambda _: None).remove(1)
    tried("S7", "a round id that leads out of the workspace", 1, not is_whole(precious))
    assert is_whole(precious) and workspace.root.is_dir()


def link_runs(workspace: Workspace, run: RunDir, to: Path) -> None:
    shutil.move(workspace.runs_dir, to / "runs")
    workspace.runs_dir.symlink_to(to / "runs")


def link_run(workspace: Workspace, run: RunDir, to: Path) -> None:
    shutil.rmtree(run.path)
    run.path.symlink_to(to)


LINKS: dict[str, Callable[[Workspace, RunDir, Path], object]] = {
    "runs": link_runs,
    "run directory": link_run,
    "file in it": lambda _, run, to: (run.path / "thesis.tex").symlink_to(to / "thesis.tex"),
    "directory in it": lambda _, run, to: run.adapter.symlink_to(to),
    "link to the root": lambda _, run, to: (run.path / "root").symlink_to("/"),
    "link to itself": lambda _, run, to: (run.path / "loop").symlink_to(run.path),
    "dangling": lambda _, run, to: run.checkpoints.symlink_to("/nowhere"),
    "hard link": lambda _, run, to: os.link(to / "thesis.tex", run.path / "thesis.tex"),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_deleting_a_round_follows_no_link(
    idle_cockpit: Cockpit, nano_spec: Spec, precious: Path, tried: Tried, link: Callable[..., object]
) -> None:
    round_ = idle_cockpit.queue(nano_spec, hold=True)
    workspace = idle_cockpit.workspace
    run = workspace.run_dir(round_.id)
    link(workspace, run, precious)
    round_files = {path for path in (precious / "runs").rglob("*") if path.is_file()}  # where `runs` leads there
    files = {path for path in precious.rglob("*") if path.is_file()} - round_files
    idle_cockpit.remove(1)
    idle_cockpit.empty_trash()
    assert not os.path.lexists(run.path)
    lost = files != {path for path in precious.rglob("*") if path.is_file() and path.name != "runner.lock"}
    tried("S7", "a link where a round is deleted", 1, lost)
    assert not lost and (precious / "thesis.tex").read_text() == "years of work"


def test_link_to_a_stranger_s_directory_deletes_nothing_there(
    workspace: Workspace, precious: Path, tried: Tried
) -> None:
    """A store whose round is called like a directory behind the link."""
    (precious / "chapter1").mkdir()
    (precious / "chapter1" / "text.tex").write_text("years of work")
    workspace.runs_dir.symlink_to(precious)
    RoundStore(workspace).add(lambda number: make_round(number, Status.STOPPED, id="chapter1"))
    cockpit = Cockpit(workspace, lambda _: None)
    cockpit.remove(1)
    with pytest.raises(StoreError, match=r"chapter1 was not deleted: .* is a link"):
        cockpit.empty_trash()
    lost = not (precious / "chapter1" / "text.tex").is_file()
    tried("S7", "a link where a round is deleted", 1, lost)
    assert not lost


@pytest.mark.parametrize("name", ["checkpoints", "adapter", "events.jsonl", "spec.json"])
def test_engine_neither_writes_nor_deletes_through_a_link(
    tiny_model: Path, precious: Path, tmp_path: Path, tried: Tried, name: str
) -> None:
    from tests.support.rounds_to_train import make_run, start_engine

    run = make_run(tmp_path / "run", tiny_model, train__save_total_limit=1)
    if name == "spec.json":
        run.spec.rename(tmp_path / "spec.json")
        run.spec.symlink_to(tmp_path / "spec.json")
    else:
        (run.path / name).symlink_to(precious / "thesis.tex" if "." in name else precious)
    code = start_engine(run).wait(120)
    tried("S7", "the real engine with a link where it writes", 1, not is_whole(precious))
    assert is_whole(precious)
    if name == "events.jsonl":
        assert code == 4
    else:
        last = read_events(run.events)[-1]
        assert code == 1 and isinstance(last, Failed)
        assert (
            last.message
            == f"{run.path / name} is a link, and links are not followed here: replace it with what it points to"
        )


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "adapter/../..", "", ".", "..", "a\0b", "~/x", "a//b"]
)
def test_saved_path_that_leads_out_is_no_event(tmp_path: Path, tried: Tried, path: str) -> None:
    line = msgspec.json.encode({"event": "saved", "time": 1.0, "step": 1, "path": path, "final": True})
    event = decode_event(line)
    result = result_of(RunSnapshot([event] if event else []), RunDir(tmp_path / "runs" / "0001-x"))
    tried("S7", "a saved path that leads out", 1, result.adapter_dir is not None)
    assert (event, result.adapter_dir) == (None, None)
    assert isinstance(decode_event(line.replace(json.dumps(path).encode(), b'"checkpoints/checkpoint-6"')), Saved)

"""A workspace that is moved while it trains, and one that was moved before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.files.paths import RunDir, Workspace
from engine.runner.launcher import runner_is_alive
from engine.runs.event_log import read_events
from engine.runs.events import Failed, Finished, Started, Step
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.fake_engine import GATE, Script
from tests.support.faults.tried import Tried
from tests.support.pilot import OpenApp, on_screen, shown, until
from tests.support.pilot import open_app as open_app
from tests.support.processes import end_processes_of, start_fake_runner
from tests.support.rounds import make_round, make_spec
from tests.support.rounds_to_train import make_run, start_engine
from tests.support.waiting import await_rounds, await_status, await_true

Follow = Callable[[Script], None]


@pytest.mark.parametrize("phase", ["starting", "loading", "training", "evaluating", "saving"])
def test_moved_workspace_goes_on_training(
    workspace: Workspace, cockpit: Cockpit, nano_spec: Spec, script: Follow, tmp_path: Path, phase: str, tried: Tried
) -> None:
    script(Script(wait_in=phase))
    cockpit.queue(nano_spec)
    (round_,) = await_rounds(cockpit.store, lambda rounds: rounds[0].process is not None)
    if phase != "starting":
        await_true(lambda: bool(read_events(workspace.run_dir(round_.id).events, Started)), "the engine")
    moved = Workspace(tmp_path / "moved")
    workspace.root.rename(moved.root)
    await_true(lambda: not runner_is_alive(moved), "the end of the runner, whose workspace is gone")
    assert "experiments.json" in moved.runner_log.read_text() and "Traceback" not in moved.runner_log.read_text()
    Cockpit(moved, start_fake_runner).runner.wake()
    (moved.run_dir(round_.id).path / GATE).touch()
    ended = await_status(RoundStore(moved), 1, Status.FINISHED)
    end_processes_of(moved.root)
    adapter = moved.root / (ended.result.adapter_dir or "nowhere")
    steps = read_events(moved.run_dir(round_.id).events, Step)
    lost = workspace.root.exists() or not adapter.is_dir() or len(steps) != Script().steps
    tried("F26", f"moved while its engine was {phase}", 1, int(lost))
    assert not lost


def test_engine_writes_where_its_run_directory_is(tiny_model: Path, tmp_path: Path, tried: Tried) -> None:
    run = make_run(tmp_path / "before" / "runs" / "0001-c0ffee", tiny_model)
    with start_engine(run) as engine:
        await_true(lambda: bool(read_events(run.events, Step)), "the first step")
        (tmp_path / "before").rename(tmp_path / "after")
        assert engine.wait(timeout=120) == 0
    run = RunDir(tmp_path / "after" / "runs" / run.name)
    (finished,) = [event for event in read_events(run.events) if isinstance(event, Finished)]
    adapter = tmp_path / "after" / (finished.result.adapter_dir or "nowhere")
    lost = (tmp_path / "before").exists() or not (adapter / "adapter_model.safetensors").is_file()
    tried("F26", "moved while the real engine took its steps", 1, int(lost))
    assert not lost and any(run.checkpoints.iterdir())


def test_engine_whose_run_directory_is_deleted_ends(tiny_model: Path, tmp_path: Path, tried: Tried) -> None:
    """As a move to another disk does it, which copies first."""
    run = make_run(tmp_path / "before" / "runs" / "0001-c0ffee", tiny_model)
    with start_engine(run) as engine:
        await_true(lambda: bool(read_events(run.events, Step)), "the first step")
        shutil.copytree(tmp_path / "before", tmp_path / "after")
        shutil.rmtree(tmp_path / "before")
        assert engine.wait(timeout=120) != 0
    copy = RunDir(tmp_path / "after" / "runs" / run.name)
    lost = (tmp_path / "before").exists() or bool(read_events(copy.events, Failed))
    tried("F26", "moved to another disk while the real engine took its steps", 1, int(lost))
    assert not lost


def test_data_and_model_within_a_workspace_move_with_it(workspace: Workspace, nano_spec: Spec, tmp_path: Path) -> None:
    data = workspace.root / "data" / "rows.jsonl"
    data.parent.mkdir()
    shutil.copy(nano_spec.data.path, data)
    shutil.copytree(nano_spec.model.path, workspace.root / "model")
    spec = make_spec(model__path=str(workspace.root / "model"), data__path=str(data), data__samples=None)
    queued = Cockpit(workspace, lambda _: None).queue(spec, hold=True)
    assert queued.spec == spec
    stored = json.loads(workspace.run_dir(queued.id).spec.read_text())["spec"]
    assert (stored["model"]["path"], stored["data"]["path"]) == ("./model", "./data/rows.jsonl")
    moved = Workspace(tmp_path / "moved")
    workspace.root.rename(moved.root)
    cockpit = Cockpit(moved, lambda _: None)
    spec_now = cockpit.store.get(1).spec
    assert spec_now.data.path == str(moved.root / "data" / "rows.jsonl")
    assert spec_now.model.path == str(moved.root / "model")
    again = cockpit.queue(spec_now, parent=1)
    assert again.spec == spec_now == cockpit.store.rounds()[1].spec


def test_data_beside_a_workspace_stays_where_it_is(
    workspace: Workspace, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    queued = idle_cockpit.queue(nano_spec)
    stored = json.loads(workspace.run_dir(queued.id).spec.read_text())["spec"]
    assert (stored["model"]["path"], stored["data"]["path"]) == (nano_spec.model.path, nano_spec.data.path)


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("part", ["workspace", "experiments.json"])
async def test_app_waits_for_a_workspace_that_is_moved_beneath_it(
    open_app: OpenApp, idle_cockpit: Cockpit, tmp_path: Path, part: str, readonly: bool, tried: Tried
) -> None:
    """Its keys went to the question whether to make a workspace, whose answers end the app or make another store."""
    root = idle_cockpit.workspace.root
    idle_cockpit.store.add(lambda number: make_round(number, note="stored"))
    moved, place = tmp_path / "moved", root if part == "workspace" else idle_cockpit.workspace.store_path
    async with open_app(Cockpit(idle_cockpit.workspace, lambda _: None, readonly=readonly)) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press(*([] if readonly else ["i", *" more"]))
        place.rename(moved)
        await until(pilot, lambda: "it was there before" in shown(pilot, "Banner"), "the sentence")
        assert on_screen(pilot, "RoundsScreen") and "stored" in shown(pilot, "#detail")
        await pilot.press("y", "n")
        moved.rename(place)
        await until(pilot, lambda: "it was there before" not in shown(pilot, "Banner"), "its end")
        if not readonly:
            await pilot.press("enter")
            await until(pilot, lambda: idle_cockpit.store.get(1).note == "stored moreyn", "the note")
    tried("F26", f"{part} moved away and back beneath an app{' --readonly' * readonly}", 1)

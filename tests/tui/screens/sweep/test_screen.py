"""The screen of a sweep, over rounds with scores that were made by hand."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest

from engine.api import Cockpit
from engine.runs.scores import Scores, write_scores
from engine.spec.round import Result, Round, Status, Trial
from engine.spec.schema import Spec
from engine.sweeps.sweep import SweepStore
from scripts.scenes import lines_of
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.screens.run.screen import LiveScreen
from tui.screens.sweep.best_chart import BestChart
from tui.screens.sweep.table import SettingTable

ROWS = 40
LOSSES = {1: 1.25, 2: 1.0, 3: 1.0}  # of the finished settings, in nats


def add_trial(cockpit: Cockpit, setting: int, status: Status = Status.FINISHED, sweep: int = 1) -> Round:
    """Add a round of a sweep; a finished one has the same loss on each of its held-out rows."""
    loss = LOSSES.get(setting) if status is Status.FINISHED else None
    result = Result() if loss is None else Result(step=10, eval_loss=loss, perplexity=math.exp(loss))
    trial = Trial(sweep=sweep, setting=setting, point={"lora.r": str(4 * setting)})
    number = len(cockpit.store.rounds()) + 1
    times: dict[str, Any] = {"started": 100.0 * number, "ended": 100.0 * number + 60} if loss is not None else {}
    round_ = cockpit.store.add(partial(make_round, status=status, trial=trial, result=result, **times))
    if loss is not None:
        run = cockpit.workspace.run_dir(round_.id)
        run.path.mkdir(parents=True)
        wobble = [0.01 * (-1) ** (row + setting) for row in range(ROWS)]
        nlls = tuple(10 * (loss + each) for each in wobble)
        write_scores(run, 10, Scores(tuple(f"{row:016x}" for row in range(ROWS)), (10,) * ROWS, nlls))
    return round_


def begin_sweep(cockpit: Cockpit, spec: Spec, name: str = "rank") -> None:
    cockpit.sweeps.new(lambda single: spec, ["lora.r=4,8,12,16"], name=name, sampler="grid")


@pytest.fixture
def sweep(idle_cockpit: Cockpit, nano_spec: Spec) -> Cockpit:
    """A workspace with a sweep of four settings: three are finished, one trains."""
    begin_sweep(idle_cockpit, nano_spec)
    for setting in LOSSES:
        add_trial(idle_cockpit, setting)
    add_trial(idle_cockpit, 4, Status.RUNNING)
    return idle_cockpit


async def open_sweep(pilot: AppPilot) -> None:
    await until(pilot, lambda: bool(pilot.app.screen.query("#empty")), "the rounds")
    await pilot.press("W")
    await until(pilot, lambda: on_screen(pilot, "SweepScreen"), "the sweep")


async def until_answered(pilot: AppPilot) -> None:
    await until(pilot, lambda: "best of" in shown(pilot, "#sweep-answer"), "the answer")


def rows(pilot: AppPilot) -> list[list[str]]:
    table = pilot.app.screen.query_one(SettingTable)
    return [table.texts_at(row) for row in range(table.row_count)]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_sweep_is_shown_with_its_answer(open_app: OpenApp, sweep: Cockpit, size: tuple[int, int]) -> None:
    async with open_app(sweep, size=size) as pilot:
        await open_sweep(pilot)
        await until_answered(pilot)
        assert shown(pilot, "#title") == "Sweep 1   running · 3 of 4 settings · 3m0s trained   rank"
        assert shown(pilot, "#sweep-answer").startswith(
            "setting 2 (r 8) is best of 3 settings: perplexity 2.72\nno different from it at this size: 3 (r 12)"
        )
        assert [row[:4] for row in rows(pilot)] == [
            ["2", "8", "★2.72", "finished"], ["3", "12", "2.72", "finished"], ["1", "4", "3.49", "finished"],
            ["4", "16", "", "running"],
        ]  # fmt: skip
        assert rows(pilot)[2][-1].startswith("worse, +28.4 %")
        assert rows(pilot)[1][-1].startswith("no difference") and rows(pilot)[0][-1] == rows(pilot)[3][-1] == ""
        assert shown(pilot, "#sweep-now") == "round 4 trains setting 4 (r 16)"
        assert pilot.app.screen.query_one(BestChart).display
        text = "\n".join(lines_of(pilot))
        assert "best perplexity" in text and "round 4 trains" in text and all(row[2] in text for row in rows(pilot))


async def test_sweep_follows_its_rounds(open_app: OpenApp, sweep: Cockpit) -> None:
    async with open_app(sweep) as pilot:
        await open_sweep(pilot)
        await until_answered(pilot)
        sweep.store.update(4, status=Status.FAILED, message="no memory")
        await until(pilot, lambda: [*rows(pilot)[-1]][3] == "failed", "the failed setting")
        assert shown(pilot, "#sweep-now") == "the next setting is chosen"


async def test_setting_opens_its_round(open_app: OpenApp, sweep: Cockpit) -> None:
    async with open_app(sweep) as pilot:
        await open_sweep(pilot)
        await until_answered(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")
        assert isinstance(screen := pilot.app.screen, LiveScreen) and screen.round.number == 3
        await pilot.press("escape", "u")
        await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "SweepScreen"), "the sweep again")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")


async def test_sweep_is_stopped_and_resumed(open_app: OpenApp, sweep: Cockpit) -> None:
    async with open_app(sweep) as pilot:
        await open_sweep(pilot)
        await until_answered(pilot)
        await pilot.press("r")
        await pilot.pause()
        assert sweep.sweeps.get(1).sweep.stopped is None
        await pilot.press("x")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("y")
        await until(pilot, lambda: "stopped" in shown(pilot, "#title"), "the stop")
        assert sweep.sweeps.get(1).sweep.stopped is not None
        await pilot.press("r")
        await until(pilot, lambda: "running" in shown(pilot, "#title"), "going on")
        assert sweep.sweeps.get(1).sweep.stopped is None


async def test_key_opens_the_sweep_of_the_round_else_the_newest(
    open_app: OpenApp, sweep: Cockpit, nano_spec: Spec
) -> None:
    begin_sweep(sweep, nano_spec, "second")
    sweep.store.add(make_round)
    async with open_app(sweep) as pilot:
        await open_sweep(pilot)
        await until(pilot, lambda: shown(pilot, "#title").startswith("Sweep 1 "), "that of the running round")
        await pilot.press("J")
        await until(pilot, lambda: shown(pilot, "#title").startswith("Sweep 2 "), "the next one")
        await until(pilot, lambda: shown(pilot, "#sweep-answer") == "no setting is finished yet", "that it is new")
        assert rows(pilot) == [] and shown(pilot, "#sweep-now") == "the next setting is chosen"
        await pilot.press("K")
        await until(pilot, lambda: shown(pilot, "#title").startswith("Sweep 1 "), "the one before")
        await pilot.press("escape", "G", "W")
        await until(pilot, lambda: shown(pilot, "#title").startswith("Sweep 2 "), "the newest, of a round without one")


async def test_workspace_without_a_sweep_says_how_to_begin_one(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    async with open_app(idle_cockpit) as pilot:
        await open_sweep(pilot)
        await until(pilot, lambda: "loratui sweep new" in shown(pilot, "#empty"), "the sentence")
        await pilot.press("x", "r", "enter", "J", "escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")


async def test_colleague_who_may_only_read_cannot_stop_a_sweep(open_app: OpenApp, sweep: Cockpit) -> None:
    async with open_app(Cockpit(sweep.workspace, lambda _: None, readonly=True)) as pilot:
        await open_sweep(pilot)
        await until_answered(pilot)
        await pilot.press("x")
        await pilot.pause()
        assert on_screen(pilot, "SweepScreen") and not any("Stop" in line for line in lines_of(pilot)[-1:])


async def test_sweep_over_a_field_of_another_version_is_shown(open_app: OpenApp, sweep: Cockpit) -> None:
    SweepStore(sweep.workspace).update(1, ranges={"lora.rank_of_tomorrow": "4, 8"})
    for round_ in sweep.store.rounds():
        trial = Trial(sweep=1, setting=round_.number, point={"lora.rank_of_tomorrow": "4"})
        sweep.store.update(round_.number, trial=trial)
    async with open_app(sweep) as pilot:
        await open_sweep(pilot)
        await until_answered(pilot)
        assert "rank_of_tomorrow 4) is best" in shown(pilot, "#sweep-answer")
        assert pilot.app.screen.query_one(SettingTable).columns[1].title == "rank_of_tomorrow"

"""Lengths of rows in the form: measured while it is open, drawn, and used by the plan."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.planning.length_request import LengthRequest
from engine.planning.row_lengths import RowLengths
from engine.preflight.hub_shapes import cache_directory
from engine.spec.presets import load_preset
from engine.spec.schema import ModelSpec, Spec
from engine.system.worker_process import WorkerSlot
from tests.support.pilot import OpenApp, enter, on_screen, open_form, shown, until
from tests.support.rounds import make_round
from tests.support.shapes import write_llama_shapes
from tui.screens.form.forecaster import Forecaster
from tui.screens.form.spec_form import SpecForm

pytestmark = pytest.mark.usefixtures("empty_state")
MEASURE = Forecaster.measure  # which forms of other tests do without


@pytest.fixture
def cockpit(idle_cockpit: Cockpit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cockpit:
    """A workspace with one round, no lengths remembered, and forms that measure rows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Forecaster, "measure", MEASURE)
    idle_cockpit.store.add(lambda number: make_round(number, spec=load_preset("nano").spec))
    return idle_cockpit


async def test_lengths_are_drawn_once_they_are_measured(open_app: OpenApp, cockpit: Cockpit) -> None:
    async with open_app(cockpit, size=(140, 50)) as pilot:
        await open_form(pilot)
        await until(pilot, lambda: "tokens: about " in shown(pilot, "#plan"), "the tokens")
        (line,) = (line for line in shown(pilot, "#plan").splitlines() if line.startswith("tokens: "))
        assert " a row · lengths " in line and "▁" in line and " · none is cut" in line
        await enter(pilot, "data.max_length", "100")
        await until(pilot, lambda: " % cut at 100" in shown(pilot, "#plan"), "the share that is cut")
        await enter(pilot, "data.max_length", "8")
        await until(
            pilot, lambda: "cut at data.max_length 8, no row has a" in shown(pilot, "#plan"), "why there is none"
        )


async def test_narrow_form_draws_them_beside_the_length_alone(open_app: OpenApp, cockpit: Cockpit) -> None:
    async with open_app(cockpit, size=(80, 24)) as pilot:
        await open_form(pilot)
        await until(pilot, lambda: "fits: about " in shown(pilot, "#plan"), "the memory by their lengths")
        assert "tokens: " not in shown(pilot, "#plan")
        pilot.app.screen.query_one(SpecForm).focus_field("data.max_length")
        await until(pilot, lambda: "tokens: about " in shown(pilot, "#plan"), "the tokens")
        pilot.app.screen.query_one(SpecForm).focus_field("train.learning_rate")
        await until(pilot, lambda: "tokens: " not in shown(pilot, "#plan"), "no tokens")


async def test_form_is_left_while_rows_are_measured(
    open_app: OpenApp, cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends with the form."""
    asked, closed = threading.Event(), threading.Event()

    def wait(request: LengthRequest, spec: Spec) -> RowLengths:
        asked.set()
        assert closed.wait(60)
        return RowLengths(())

    monkeypatch.setattr(LengthRequest, "_ask", wait)
    monkeypatch.setattr(WorkerSlot, "close", lambda slot: closed.set())
    async with open_app(cockpit) as pilot:
        await open_form(pilot)
        await until(pilot, asked.is_set, "the question")
        await pilot.press("escape")
        await until(pilot, lambda: not on_screen(pilot, "EditScreen"), "the table")
        await until(pilot, closed.is_set, "the end of the question")


async def test_hub_is_asked_once_for_a_model_that_is_not_here(
    open_app: OpenApp, cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form shows the memory of its shapes, and why they may be out of date."""
    asked: list[str] = []

    def update(model: ModelSpec, slot: WorkerSlot) -> str:
        asked.append(model.path)
        directory = cache_directory(model)
        assert directory is not None
        write_llama_shapes(directory)
        return "" if model.path == "some/llama" else "the hub cannot be reached"

    monkeypatch.setattr("tui.screens.form.forecaster.update_shapes", update)
    async with open_app(cockpit, size=(140, 50)) as pilot:
        await open_form(pilot)
        await enter(pilot, "model.path", "some/llama")
        await until(pilot, lambda: "base 4.1 GiB" in shown(pilot, "#plan"), "the memory of the base")
        await enter(pilot, "lora.r", "4")
        await until(pilot, lambda: "lora.r=4" in shown(pilot, "#changes"), "the change")
        await until(pilot, lambda: "base 4.1 GiB" in shown(pilot, "#plan"), "the memory again")
        assert "cannot be reached" not in shown(pilot, "#plan")
        await enter(pilot, "model.path", "some/old-llama")
        await until(pilot, lambda: "! the hub cannot be reached" in shown(pilot, "#plan"), "why its shapes may be old")
    assert asked.count("some/llama") == 1 and all("/" in path for path in asked)  # a slow machine rests between letters

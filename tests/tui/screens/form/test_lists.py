"""The lists that a field of the form opens: rounds with an adapter, and the words of a long choice."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from textual.widgets import OptionList

from engine.api import Cockpit
from engine.spec.fields import spec_fields
from engine.spec.round import Result, Round
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, open_form, until
from tests.support.rounds import change_spec, make_round, write_model
from tui.screens.form.spec_form import SpecForm
from tui.widgets.choice import Choice

ADAPTER = "lora.initial_adapter"
RESULT = Result(perplexity=3.5)


def lines(pilot: AppPilot) -> list[str]:
    options = pilot.app.screen.query_one(OptionList)
    return [str(options.get_option_at_index(index).prompt) for index in range(options.option_count)]


def notified(pilot: AppPilot, text: str) -> bool:
    return any(text in note.message for note in pilot.app._notifications)


def round_of(spec: Spec, number: int) -> Round:
    return make_round(number, spec=spec, note=f"note {number}", result=RESULT)


async def ask_for_list(pilot: AppPilot, key: str) -> SpecForm:
    form = pilot.app.screen.query_one(SpecForm)
    form.focus_field(key)
    await pilot.pause()
    await pilot.press("enter")
    return form


async def test_rounds_with_an_adapter_are_listed_and_give_it_their_shape(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path
) -> None:
    wide = change_spec(nano_spec, lora__r=64, lora__use_dora=True, lora__lora_dropout=0.0, train__seed=1)
    other = change_spec(wide, model__path=str(write_model(tmp_path / "other")))
    for spec in (wide, other, nano_spec):
        made = idle_cockpit.store.add(partial(round_of, spec))
        if made.number != 3:
            idle_cockpit.workspace.run_dir(made.id).adapter.mkdir(parents=True)
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        form = await ask_for_list(pilot, ADAPTER)
        await until(pilot, lambda: on_screen(pilot, "ChooseScreen"), "the list")
        assert len(lines(pilot)) == 1
        assert "round 1" in lines(pilot)[0] and "perplexity 3.50 · note 1" in lines(pilot)[0]
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert form.changes() == {ADAPTER: "1", "lora.r": 64, "lora.use_dora": True}


async def test_list_without_rounds_says_so(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        await ask_for_list(pilot, ADAPTER)
        await until(pilot, lambda: notified(pilot, "no round here has an adapter"), "the reason")
        assert on_screen(pilot, "EditScreen")


@pytest.mark.parametrize(("key", "words"), [("train.lr_scheduler_type", 12), ("train.optim", 9)])
async def test_long_choice_lists_its_words(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, key: str, words: int
) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        form = await ask_for_list(pilot, key)
        await until(pilot, lambda: on_screen(pilot, "ChooseScreen"), "the list")
        assert len(lines(pilot)) == words
        await pilot.press("down", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert form.changes() == {key: spec_fields()[key].choices[1]}


async def test_word_too_long_for_its_room_is_cut(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    spec = change_spec(nano_spec, train__lr_scheduler_type="cosine_with_restarts")
    idle_cockpit.store.add(lambda number: make_round(number, spec=spec))
    async with open_app(idle_cockpit, size=(80, 24)) as pilot:
        await open_form(pilot)
        choice = pilot.app.screen.query_one("#train-lr_scheduler_type", Choice)
        await until(pilot, lambda: choice.content_size.width > 0, "the field")
        assert str(choice.render()).endswith("… ›")

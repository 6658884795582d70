"""A form that is left half-filled is offered when the next one is opened."""

from __future__ import annotations

import pytest
from textual.events import Paste
from textual.widgets import OptionList

from engine.api import Cockpit
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, enter, on_screen, shown, until
from tests.support.rounds import make_round
from tui.screens.form.form_draft import FORM
from tui.screens.form.note_area import NoteArea
from tui.screens.form.spec_form import SpecForm
from tui.widgets.choice import Choice
from tui.widgets.sanitized_input import SanitizedInput


@pytest.fixture
def one(idle_cockpit: Cockpit, nano_spec: Spec) -> Cockpit:
    """Round 1, with `nano_spec`."""
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec, name="first"))
    return idle_cockpit


async def starts(pilot: AppPilot) -> list[str]:
    """Press n, and return the starts that are offered."""
    await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
    await pilot.press("n")
    await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")
    options = pilot.app.screen.query_one(OptionList)
    return [str(options.get_option_at_index(index).prompt) for index in range(options.option_count)]


async def open_form(pilot: AppPilot) -> SpecForm:
    await starts(pilot)
    await pilot.press("enter")
    await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
    return pilot.app.screen.query_one(SpecForm)


async def fill_in(pilot: AppPilot) -> None:
    """Change a number, one that is wrong, a choice, the name and the note."""
    await open_form(pilot)
    await enter(pilot, "lora.r", "16")
    await enter(pilot, "train.learning_rate", "3e-")
    await enter(pilot, "lora.bias", "lora_only")
    pilot.app.screen.query_one("#name", SanitizedInput).focus()
    await pilot.pause()
    await pilot.press("end", *"!", "ctrl+n", *"why", "enter", *"not")


def assert_filled_in(pilot: AppPilot) -> None:
    screen = pilot.app.screen
    form = screen.query_one(SpecForm)
    assert form.changed_texts() == {"lora.r": "16", "train.learning_rate": "3e-", "lora.bias": "lora_only"}
    assert screen.query_one("#lora-bias", Choice).value == "lora_only"
    assert screen.query_one("#name", SanitizedInput).text == "first!"
    assert screen.query_one(NoteArea).text == "why\nnot"
    assert "clone of round 1" in shown(pilot, "#title")


async def test_form_left_with_escape_is_the_first_start_offered(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one, size=(120, 50)) as pilot:
        await fill_in(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        assert any("half-filled form" in notice.message for notice in pilot.app._notifications)
        first, second, *_ = await starts(pilot)
        assert first.startswith("continue the form of ") and "clone of round 1 · why not · lora.r=16" in first
        assert second.startswith("clone of round 1")
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        await pilot.pause()
        assert_filled_in(pilot)


async def test_form_is_offered_by_the_next_app_until_its_round_is_queued(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one, size=(120, 50)) as pilot:
        await fill_in(pilot)
        one.drafts.flush()
    again = Cockpit(one.workspace, lambda _: None)
    async with open_app(again, size=(120, 50)) as pilot:
        await open_form(pilot)
        await pilot.pause()
        assert_filled_in(pilot)
        await enter(pilot, "train.learning_rate", "3e-4")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: len(again.store.rounds()) == 2, "the queued round")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "its run")
    queued = again.store.get(2)
    assert (queued.name, queued.note, queued.parent, queued.spec.lora.r) == ("first!", "why\nnot", 1, 16)
    assert again.drafts.flush() and Cockpit(one.workspace).drafts.offered(FORM) == []


async def test_two_forms_are_both_offered_and_one_can_be_discarded(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one, size=(120, 50)) as pilot:
        await open_form(pilot)
        await enter(pilot, "lora.r", "16")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        await starts(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "another form")
        await enter(pilot, "lora.r", "32")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        newest, older, *_ = await starts(pilot)
        assert "lora.r=32" in newest and "lora.r=16" in older
        await pilot.press("home", "d", "escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        first, second, *_ = await starts(pilot)
        assert "lora.r=16" in first and second.startswith("clone of round 1")


async def test_form_of_a_deleted_round_can_be_continued(open_app: OpenApp, one: Cockpit) -> None:
    one.store.add(lambda number: make_round(number, name="other"))
    async with open_app(one, size=(120, 50)) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        await pilot.press("g")
        await open_form(pilot)
        await enter(pilot, "lora.r", "16")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        one.remove(1)
        await until(pilot, lambda: "other" in shown(pilot, "#detail"), "the round that is there")
        form = await open_form(pilot)
        await pilot.pause()
        assert form.changed_texts() == {"lora.r": "16"}


async def test_form_without_changes_leaves_nothing(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one, size=(120, 50)) as pilot:
        await open_form(pilot)
        await enter(pilot, "lora.r", "16")
        await pilot.press("ctrl+r", "escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        assert not (await starts(pilot))[0].startswith("continue")


async def test_pasted_path_with_a_line_break_just_works(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one, size=(120, 50)) as pilot:
        form = await open_form(pilot)
        form.focus_field("data.path")
        await pilot.pause()
        await pilot.press("end", "ctrl+u")
        pilot.app.post_message(Paste("/data/rows.jsonl\n"))
        await pilot.pause()
        assert form.values()["data.path"] == "/data/rows.jsonl"
        pilot.app.post_message(Paste("a\x1b[2Jb"))
        await pilot.pause()
        assert form.values()["data.path"] == "/data/rows.jsonl"
        assert any("U+001B" in notice.message for notice in pilot.app._notifications)


async def test_paste_onto_a_choice_says_that_it_went_nowhere(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one, size=(120, 50)) as pilot:
        form = await open_form(pilot)
        form.focus_field("lora.bias")
        await pilot.pause()
        pilot.app.post_message(Paste("all"))
        await until(pilot, lambda: bool(pilot.app._notifications), "a sentence")


async def test_name_of_a_preset_left_with_escape_is_offered(open_app: OpenApp, one: Cockpit) -> None:
    async with open_app(one, size=(120, 50)) as pilot:
        await open_form(pilot)
        await pilot.press("ctrl+f")
        await until(pilot, lambda: on_screen(pilot, "AskScreen"), "the question")
        await pilot.press(*"wide", "escape")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        await pilot.press("ctrl+f")
        await until(pilot, lambda: on_screen(pilot, "AskScreen"), "the question")
        field = pilot.app.screen.query_one(SanitizedInput)
        assert field.value == "wide"
        await pilot.press("ctrl+r")
        assert field.value == "first"

"""A field is found by typing a part of its name, or of what it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from textual.widgets import Label

from engine.api import Cockpit
from engine.spec.fields import spec_fields
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, open_form, shown, until
from tests.support.rounds import make_round
from tui.screens.form.fields.find_line import FindLine
from tui.screens.form.fields.fold_line import FoldLine
from tui.screens.form.fields.row import FieldRow
from tui.screens.form.fields.search import MOST, matching_fields
from tui.screens.form.spec_form import SpecForm

Opened = Callable[..., AbstractAsyncContextManager[tuple[AppPilot, SpecForm]]]


@pytest.fixture
def opened(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> Opened:
    """Open the form that begins with round 1."""
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))

    @asynccontextmanager
    async def opened(size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[AppPilot, SpecForm]]:
        async with open_app(idle_cockpit, size=size) as pilot:
            screen = await open_form(pilot)
            yield pilot, screen.query_one(SpecForm)

    return opened


def in_sight(form: SpecForm) -> list[str]:
    return [row.entry.field.key for row in form.query_children(FieldRow) if row.display]


def focused(pilot: AppPilot) -> str | None:
    return pilot.app.screen.focused.id if pilot.app.screen.focused is not None else None


def names(text: str) -> list[str]:
    return [field.name for field in matching_fields(text, spec_fields().values())]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("warm", "warmup_steps"), ("early", "early_stopping_patience"), ("batch size", "per_device_train_batch_size"),
        ("lr sched", "lr_scheduler_type"), ("LEARNING_RATE", "learning_rate"), ("dora", "use_dora"), ("r", "r"),
        ("rank of", "r"), ("lora.r", "r"), ("qlora", "load_in_4bit"), ("train.seed", "seed"),
    ],
)  # fmt: skip
def test_names_come_before_descriptions(text: str, first: str) -> None:
    assert names(text)[0] == first


def test_every_word_counts_and_short_words_begin_a_word_of_the_name() -> None:
    assert names("seed xyz") == names("xyz") == names("") == names("  ") == []
    assert all(any(part.startswith("se") for part in name.split("_")) for name in names("se")) and names("se")
    assert len(names("the")) == MOST


async def test_form_shows_what_matches_as_one_types(opened: Opened) -> None:
    async with opened() as (pilot, form):
        before = in_sight(form)
        await pilot.press("ctrl+k", *"dora")
        await until(pilot, lambda: in_sight(form) == ["lora.use_dora"], "the field")
        assert shown(pilot, "#find-count") == "1 field · enter goes there"
        await until(pilot, lambda: shown(pilot, "#explained").startswith("lora.use_dora"), "its purpose")
        headings = [str(each.content) for each in form.query(".section").results(Label) if each.display]
        assert headings == ["adapter (peft)"]
        assert not any(line.display for line in form.query(FoldLine))
        await pilot.press("ctrl+u", *"zzz")
        await until(pilot, lambda: in_sight(form) == [], "no field")
        assert "no field has this" in shown(pilot, "#find-count")
        await pilot.press("enter", "ctrl+u")
        await until(pilot, lambda: in_sight(form) == before, "the form as it was")
        assert focused(pilot) == "find"
        await pilot.press("escape")
        await until(pilot, lambda: focused(pilot) == "train-learning_rate", "the field one came from")
        assert not pilot.app.screen.query_one(FindLine).display and in_sight(form) == before
        assert on_screen(pilot, "EditScreen")


async def test_enter_goes_to_the_field_and_escape_leaves_it_in_sight(opened: Opened) -> None:
    async with opened() as (pilot, form):
        before = in_sight(form)
        await pilot.press("ctrl+k", *"dora", "enter")
        await until(pilot, lambda: focused(pilot) == "lora-use_dora", "the field")
        assert shown(pilot, "#explained").startswith("lora.use_dora")
        await pilot.press("right", "escape")
        await until(pilot, lambda: set(in_sight(form)) == {*before, "lora.use_dora"}, "the form, with the field")
        assert focused(pilot) == "lora-use_dora" and form.changes() == {"lora.use_dora": True}
        field = form.query_one("#lora-use_dora")
        await until(pilot, lambda: form.region.contains_region(field.region), "the field in sight")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")


async def test_arrows_go_through_what_was_found(opened: Opened) -> None:
    async with opened() as (pilot, form):
        await pilot.press("ctrl+k", *"seed", "down")
        await until(pilot, lambda: focused(pilot) == "data-seed", "the first")
        await pilot.press("down")
        await until(pilot, lambda: focused(pilot) == "train-seed", "the second")
        await pilot.press("ctrl+k", "ctrl+u", *"bias", "enter")
        await until(pilot, lambda: focused(pilot) == "lora-bias", "another")
        await pilot.press("escape")
        await until(pilot, lambda: "train.learning_rate" in in_sight(form), "the form")
        assert "lora.bias" in in_sight(form) and focused(pilot) == "lora-bias"


async def test_keys_that_come_all_at_once_do_what_they_do_one_by_one(opened: Opened) -> None:
    async with opened() as (pilot, form):
        for key in (
            "ctrl+k",
            *"dora",
            "enter",
            "right",
            "ctrl+k",
            *"lora seed",
            *["backspace"] * 9,
            *"loraplus",
            "down",
            "8",
        ):
            pilot.app.simulate_key("space" if key == " " else key)
        wanted = {"lora.use_dora": True, "lora.loraplus_lr_ratio": 8}
        await until(pilot, lambda: form.changes() == wanted, "both fields")
        assert focused(pilot) == "lora-loraplus_lr_ratio"


async def test_search_begins_anew_and_from_any_field(opened: Opened) -> None:
    async with opened(size=(120, 40)) as (pilot, form):
        await pilot.press("ctrl+n", "ctrl+k", *"bias")
        await until(pilot, lambda: "lora.bias" in in_sight(form), "the field")
        await pilot.press("escape")
        await until(pilot, lambda: focused(pilot) == "note", "the note")
        assert "lora.bias" not in in_sight(form)
        await pilot.press("ctrl+k")
        assert pilot.app.screen.query_one(FindLine).field.value == ""
        await pilot.press(*"bias", "ctrl+n")
        assert focused(pilot) == "note" and not pilot.app.screen.query_one(FindLine).display


async def test_start_with_a_field_that_is_wrong_ends_in_that_field(opened: Opened) -> None:
    async with opened() as (pilot, form):
        await pilot.press("end", "ctrl+u", *"fast", "ctrl+k", *"dora", "ctrl+s")
        await until(pilot, lambda: focused(pilot) == "train-learning_rate", "the field")
        field = form.query_one("#train-learning_rate")
        await until(pilot, lambda: form.region.contains_region(field.region), "the field in sight")

"""The usual fields are in sight, and of the others those that matter in this form."""

from __future__ import annotations

from functools import partial

import pytest
from textual.events import Paste
from textual.widget import Widget

from engine.api import Cockpit
from engine.errors import SpecError
from engine.spec.fields import spec_fields
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, enter, on_screen, open_form, shown, until
from tests.support.rounds import change_spec, make_round
from tui.screens.form.fields.fold_line import FoldLine
from tui.screens.form.fields.row import FieldRow, control_id
from tui.screens.form.spec_form import SECTION_TITLES, SpecForm

USUAL = [key for key, field in spec_fields().items() if field.usual]
OTHERS = {group: [key for key in spec_fields() if key.startswith(f"{group}.") and key not in USUAL]
          for group in SECTION_TITLES}  # fmt: skip


async def open_clone(pilot: AppPilot, cockpit: Cockpit, spec: Spec) -> SpecForm:
    """The form that begins with a round of `spec`."""
    cockpit.store.add(lambda number: make_round(number, spec=spec))
    screen = await open_form(pilot)
    return screen.query_one(SpecForm)


def in_sight(form: SpecForm) -> list[str]:
    """The fields that can be reached by scrolling, from top to bottom."""
    return [row.entry.field.key for row in form.query_children(FieldRow) if row.display]


def line_of(form: SpecForm, group: str) -> FoldLine:
    return list(form.query(FoldLine))[list(SECTION_TITLES).index(group)]


def is_in_sight(form: SpecForm, widget: Widget) -> bool:
    """Whether the widget is whole within the part of the form that one sees."""
    return form.region.contains_region(widget.region)


def focused(pilot: AppPilot) -> str | None:
    return pilot.app.screen.focused.id if pilot.app.screen.focused is not None else None


async def test_form_opens_with_the_usual_fields(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    assert len(USUAL) == 20
    async with open_app(idle_cockpit) as pilot:
        form = await open_clone(pilot, idle_cockpit, nano_spec)
        different = [key for key in ("train.save_steps", "train.sample_tokens") if key in in_sight(form)]
        assert [key for key in in_sight(form) if key not in different] == USUAL
        for group, others in OTHERS.items():
            hidden = [spec_fields()[key].name for key in others if key not in in_sight(form)]
            text = str(line_of(form, group).render())
            assert text == f"▸ {len(hidden)} more: {', '.join(hidden)}"


async def test_field_whose_value_is_not_the_default_is_in_sight(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    spec = change_spec(nano_spec, lora__use_dora=True, data__split="test", train__weight_decay=0.1)
    async with open_app(idle_cockpit) as pilot:
        form = await open_clone(pilot, idle_cockpit, spec)
        wanted = {*USUAL, "lora.use_dora", "data.split", "train.weight_decay"}
        assert wanted <= set(in_sight(form))
        assert in_sight(form) == [key for key in spec_fields() if key in in_sight(form)], "in the order of the spec"


@pytest.mark.parametrize("keys", [("enter", "enter"), ("right", "left"), ("space", "h")])
async def test_line_opens_the_others_and_folds_them_again(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, keys: tuple[str, str]
) -> None:
    async with open_app(idle_cockpit) as pilot:
        form = await open_clone(pilot, idle_cockpit, nano_spec)
        before = in_sight(form)
        form.focus_field("lora.target_modules")
        await pilot.press("down")
        line = line_of(form, "lora")
        assert pilot.app.screen.focused is line
        await pilot.press(keys[0])
        await until(pilot, lambda: set(in_sight(form)) == {*before, *OTHERS["lora"]}, "the other fields")
        assert pilot.app.screen.focused is line and str(line.render()) == f"▾ {len(OTHERS['lora'])} more"
        await until(pilot, lambda: "enter folds them" in shown(pilot, "#explained"), "how to fold them")
        below = form.query_one(f"#{control_id(OTHERS['lora'][0])}")
        await until(pilot, lambda: below.region.y == line.region.bottom, "the first of them below the line")
        for each in (line, below):
            await until(pilot, partial(is_in_sight, form, each), "both in sight")
        await pilot.press(keys[1])
        await until(pilot, lambda: in_sight(form) == before, "the form as it was")


async def test_click_opens_the_line(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    async with open_app(idle_cockpit, size=(120, 60)) as pilot:
        form = await open_clone(pilot, idle_cockpit, nano_spec)
        before = in_sight(form)
        await pilot.click(line_of(form, "model"))
        await until(pilot, lambda: set(in_sight(form)) == {*before, *OTHERS["model"]}, "the other fields")
        await pilot.click(line_of(form, "model"))
        await until(pilot, lambda: in_sight(form) == before, "the form as it was")


async def test_what_was_changed_stays_in_sight_when_its_section_is_folded(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    async with open_app(idle_cockpit) as pilot:
        form = await open_clone(pilot, idle_cockpit, nano_spec)
        line = line_of(form, "lora")
        line.action_turn(True)
        await until(pilot, lambda: "lora.bias" in in_sight(form), "the other fields")
        await enter(pilot, "lora.loraplus_lr_ratio", "wrong")
        await enter(pilot, "lora.use_dora", "true")
        line.focus()
        await pilot.press("left")
        await until(pilot, lambda: "lora.bias" not in in_sight(form), "the fields that are as they were")
        lora = [key for key in in_sight(form) if key.startswith("lora.")]
        usual = [key for key in USUAL if key.startswith("lora.")]
        assert lora == [*usual, "lora.use_dora", "lora.loraplus_lr_ratio"]
        last = next(row for row in form.query(FieldRow) if row.entry.field.key == "lora.loraplus_lr_ratio")
        assert form.children.index(line) == form.children.index(last) + 1
        assert "use_dora" not in str(line.render())


async def test_pasted_line_and_check_show_the_fields_that_they_name(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    async with open_app(idle_cockpit) as pilot:
        form = await open_clone(pilot, idle_cockpit, nano_spec)
        pilot.app.post_message(Paste("--set data.seed=5 --set lora.bias=lora_only --set lora.use_dora=true"))
        await until(pilot, lambda: {"data.seed", "lora.bias", "lora.use_dora"} <= set(in_sight(form)), "the fields")
        assert form.changes() == {"data.seed": 5, "lora.bias": "lora_only", "lora.use_dora": True}
        assert "model.load_in_8bit" not in in_sight(form)
        await enter(pilot, "lora.target_modules", "all-linear")
        pilot.app.post_message(Paste("--set model.load_in_4bit=true"))
        await pilot.pause()
        assert "model.load_in_8bit" not in in_sight(form)


async def test_start_goes_to_a_wrong_field_that_is_folded(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(idle_cockpit) as pilot:
        form = await open_clone(pilot, idle_cockpit, nano_spec)

        def refuse() -> dict[str, object]:
            raise SpecError("data.seed does not go with the others", "data.seed")

        monkeypatch.setattr(form, "values", refuse)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: focused(pilot) == "data-seed", "the field")
        assert "data.seed" in in_sight(form) and on_screen(pilot, "EditScreen")

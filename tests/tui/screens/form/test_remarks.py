"""The remarks in the form: named below the plan, explained in a list, applied and silenced there."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import OptionList

from engine.api import Cockpit
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, enter, on_screen, open_form, shown, until
from tests.support.rounds import change_spec, make_round
from tui.screens.form.spec_form import SpecForm
from tui.settings.silenced_rules import silenced_rules

pytestmark = pytest.mark.usefixtures("empty_state")


def named(pilot: AppPilot) -> list[str]:
    """The rules that the plan names."""
    lines = [line for line in shown(pilot, "#plan").splitlines() if line.startswith("? ")]
    return lines[0].removeprefix("? ").partition(" · ")[0].split(", ") if lines else []


def notified(pilot: AppPilot, text: str) -> bool:
    return any(text in notice.message for notice in pilot.app._notifications)


def slow(spec: Spec) -> Spec:
    """Settings that two rules remark on."""
    return change_spec(
        spec, train__learning_rate=1e-5, train__gradient_accumulation_steps=1, train__warmup_steps=0.0,
        train__num_train_epochs=3.0, lora__target_modules="all-linear", lora__use_dora=True,
    )  # fmt: skip


async def listed(pilot: AppPilot) -> OptionList:
    await pilot.press("ctrl+x")
    await until(pilot, lambda: on_screen(pilot, "RemarksScreen"), "the list")
    return pilot.app.screen.query_one(OptionList)


async def test_remedy_goes_into_the_form(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, spec=slow(nano_spec)))
    async with open_app(idle_cockpit, size=(120, 50)) as pilot:
        await open_form(pilot)
        await until(pilot, lambda: named(pilot) == ["low-rate", "dora-served"], "the names of the rules")
        options = await listed(pilot)
        text = str(options.get_option_at_index(0).prompt)
        assert "about ten times as high" in text and "https://thinkingmachines.ai/blog/lora/" in text
        await pilot.press("enter")
        await until(pilot, lambda: named(pilot) == ["dora-served"], "the other rule alone")
        form = pilot.app.screen.query_one(SpecForm)
        assert form.text("train.learning_rate") == "0.0002"
        await enter(pilot, "lora.use_dora", "false")
        await until(pilot, lambda: named(pilot) == [], "no remark")
        await pilot.press("ctrl+x")
        await until(pilot, lambda: notified(pilot, "no rule has a remark"), "the sentence")


async def test_rule_is_silenced_for_good(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, spec=slow(nano_spec)))
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        await until(pilot, lambda: named(pilot) == ["low-rate", "dora-served"], "the names of the rules")
        options = await listed(pilot)
        await pilot.press("s")
        await until(pilot, lambda: "silenced" in str(options.get_option_at_index(0).prompt), "the mark")
        assert silenced_rules() == {"low-rate"}
        await pilot.press("escape")
        await until(pilot, lambda: named(pilot) == ["dora-served"], "the other rule alone")
        options = await listed(pilot)
        assert "silenced" in str(options.get_option_at_index(1).prompt), "it comes last now"
        await pilot.press("down", "s", "escape")
        await until(pilot, lambda: named(pilot) == ["low-rate", "dora-served"], "both again")
    assert silenced_rules() == frozenset()


async def test_rule_that_cannot_be_silenced_stays_and_says_why(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, empty_state: Path
) -> None:
    (empty_state / "loratui" / "silenced-remarks").mkdir(parents=True)
    idle_cockpit.store.add(lambda number: make_round(number, spec=slow(nano_spec)))
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        await until(pilot, lambda: named(pilot) != [], "the names of the rules")
        options = await listed(pilot)
        await pilot.press("s")
        await until(pilot, lambda: notified(pilot, "cannot be read"), "the reason")
        assert "silenced" not in str(options.get_option_at_index(0).prompt)
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")

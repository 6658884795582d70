"""Characters two cells wide, as of Chinese, Japanese and Korean, and emoji: what stands beside them stays in line."""

from __future__ import annotations

from functools import partial

import pytest
from rich.cells import cell_len
from textual.widgets import Input

from engine.api import Cockpit
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import change_spec, make_round

NAMES = ("学習率を下げた", "짧은 이름", "plain", "🚀 wide", "ﾊﾝｶｸ")


def lines(pilot: AppPilot) -> list[str]:
    """The screen line by line."""
    strips = pilot.app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


def column_of(line: str, word: str) -> int:
    """The cell in which `word` begins."""
    return cell_len(line[: line.index(word)])


def held(name: str, spec: Spec, number: int) -> Round:
    return make_round(number, Status.HELD, name=name, note=f"note {name}", spec=spec, turn=float(number))


@pytest.fixture
def rounds(idle_cockpit: Cockpit, nano_spec: Spec) -> Cockpit:
    for name in NAMES:
        idle_cockpit.store.add(partial(held, name, nano_spec))
    return idle_cockpit


@pytest.mark.parametrize("where", ["table", "queue"])
async def test_columns_stand_beneath_each_other(open_app: OpenApp, rounds: Cockpit, where: str) -> None:
    async with open_app(rounds, size=(140, 40)) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        if where == "queue":
            await pilot.press("u")
            await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")
        rows = [line for line in lines(pilot) for name in NAMES if line.count(name) > 1]
        assert len(rows) == len(NAMES)
        assert len({column_of(row, "note ") for row in rows}) == 1
        assert {cell_len(row) for row in lines(pilot)} == {140}


async def test_form_stays_in_line(open_app: OpenApp, rounds: Cockpit, nano_spec: Spec) -> None:
    spec = change_spec(nano_spec, data__prompt_template="質問: {prompt}\n答え:")
    rounds.store.add(lambda number: make_round(number, name="広い", spec=spec))
    async with open_app(rounds, size=(120, 50)) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        await pilot.press("G", "n", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        pilot.app.screen.query_one("#data-prompt_template", Input).focus()
        await pilot.press("end", *"正")
        await pilot.pause()
        assert {cell_len(row) for row in lines(pilot)} == {120}
        row = next(line for line in lines(pilot) if "質問" in line)
        assert column_of(row, "質問") == column_of(
            next(line for line in lines(pilot) if "eval_fraction" in line), "0.1"
        )
        assert "● was 質問" in row

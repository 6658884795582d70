"""The lineage screen: what it tells, and what each key does there."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.screens.compare.lineage_screen import LineageScreen
from tui.screens.compare.lineage_tree import LineageTree
from tui.screens.rounds.table import RoundTable


def view(pilot: AppPilot) -> LineageTree:
    return pilot.app.screen.query_one(LineageTree)


def lines(pilot: AppPilot) -> list[str]:
    """What stands on the screen, line by line."""
    widget = view(pilot)
    return [widget.render_line(y).text.rstrip() for y in range(widget.size.height)]


def notices(pilot: AppPilot) -> str:
    return " ".join(note.message for note in pilot.app._notifications)


async def open_lineage(pilot: AppPilot, rounds: int, *keys: str) -> None:
    """From the table of that many rounds, after these keys."""
    await until(pilot, lambda: pilot.app.screen.query_one(RoundTable).row_count == rounds, "the table")
    await pilot.press(*keys, "a")
    await until(pilot, lambda: on_screen(pilot, "LineageScreen") and bool(lines(pilot)), "the lineage")


@pytest.fixture
def reference(reference_workspace: Workspace) -> Cockpit:
    return Cockpit(reference_workspace, lambda _: None)


@pytest.fixture
def branched(idle_cockpit: Cockpit) -> Cockpit:
    """2 and 4 came from 1, 3 and 5 from 2; 6 from nothing."""
    for parent in (None, 1, 2, 1, 2, None):
        idle_cockpit.store.add(partial(make_round, parent=parent))
    return idle_cockpit


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_reference_rounds_are_read_as_a_story_on_one_screen(
    open_app: OpenApp, reference: Cockpit, size: tuple[int, int]
) -> None:
    async with open_app(reference, size=size) as pilot:
        await open_lineage(pilot, 5, "g")
        assert shown(pilot, "#title") == "Lineage   5 rounds   ★ perplexity 3.16 in round 2"
        text = "\n".join(lines(pilot))
        places = [text.index(f"● {number}") for number in range(1, 6)]
        assert places == sorted(places)
        for words in (
            "perplexity 4.79 → 3.16 ★ -34.0 %", "learning_rate 2e-4 → 5e-5", "The GPU sat half idle",
            "3.16 → 3.19 +0.9 %", "3.19 → 3.62 +13.5 %", "3.62 → 3.38 -6.6 %", "longer warm-up.",
        ):  # fmt: skip
            assert words in text
        assert view(pilot).max_scroll_y == 0


async def test_it_starts_at_the_selected_round_and_enter_opens_the_one_under_the_cursor(
    open_app: OpenApp, reference: Cockpit
) -> None:
    async with open_app(reference) as pilot:
        await open_lineage(pilot, 5, "g", "j")
        assert view(pilot).selected_number == 2
        assert [line[0] for line in lines(pilot) if line.startswith("▶")] == ["▶"]
        assert next(line for line in lines(pilot) if line.startswith("▶")).startswith("▶● 2")
        await pilot.press("j", "enter")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")
        await until(pilot, lambda: "Round 3" in shown(pilot, "#run-title"), "round 3")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "LineageScreen"), "the lineage again")
        await pilot.press("escape")
        assert on_screen(pilot, "RoundsScreen")


async def test_keys_go_from_round_to_round(open_app: OpenApp, branched: Cockpit) -> None:
    """Each of these begins with the key that goes to the first or to the last round."""
    async with open_app(branched) as pilot:
        await open_lineage(pilot, 6, "g")
        for keys, number in [
            ("g", 1), ("g j", 4), ("g j j", 2), ("G", 5), ("G k", 3), ("g down down down up", 2), ("end", 5),
            ("home", 1), ("g l", 4), ("G h", 2), ("G h h", 1), ("G h h h", 1), ("G left right", 3), ("G l", 5),
            ("g pagedown", 5), ("G pageup", 1), ("g k", 1), ("G j", 5),
        ]:  # fmt: skip
            await pilot.press(*keys.split())
            assert view(pilot).selected_number == number, keys


async def test_n_starts_a_new_round_from_the_selected_one(open_app: OpenApp, branched: Cockpit) -> None:
    async with open_app(branched) as pilot:
        await open_lineage(pilot, 6, "g", "j")
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "StartFromScreen"), "the choice")


async def test_y_copies_the_commands_of_the_rounds_missing_before_the_selected_one(
    open_app: OpenApp, reference: Cockpit
) -> None:
    async with open_app(reference) as pilot:
        await open_lineage(pilot, 5, "g", "j")
        await pilot.press("j", "y")
        await until(pilot, lambda: bool(pilot.app.clipboard), "the copy")
        assert pilot.app.clipboard.splitlines() == [
            "loratui new --from 2 --set train.learning_rate=2e-5",
            "loratui new --from 2 --set train.learning_rate=2e-5 --set train.num_train_epochs=5",
        ]
        await until(pilot, lambda: "copied: the commands for 2 missing rounds" in notices(pilot), "the notice")
        await pilot.press("g", "y")
        await until(pilot, lambda: "no round is missing" in notices(pilot), "the refusal")
        assert "--from 2" in pilot.app.clipboard


async def test_mark_follows_a_round_between_of_another_family(open_app: OpenApp, reference: Cockpit) -> None:
    async with open_app(reference, size=(120, 36)) as pilot:
        await open_lineage(pilot, 5, "g")
        assert "2 changed at once, 1 round missing" in "\n".join(lines(pilot))
        train = msgspec.structs.replace(reference.store.get(1).spec.train, learning_rate=5e-5)
        spec = msgspec.structs.replace(reference.store.get(1).spec, train=train)
        reference.store.add(lambda number: make_round(number, spec=spec))
        await until(pilot, lambda: "2 changed at once, round 6 between" in "\n".join(lines(pilot)), "the round")


async def test_cursor_is_brought_into_view_with_its_whole_round(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    for _ in range(12):
        idle_cockpit.store.add(lambda number: make_round(number, parent=number - 1 or None, note="why " * 40))
    async with open_app(idle_cockpit) as pilot:
        await open_lineage(pilot, 12, "g")
        for number in range(1, 13):
            assert view(pilot).selected_number == number
            told = lines(pilot)
            start = next(y for y, line in enumerate(told) if line.startswith(f"▶● {number} "))
            assert "why" in told[start + 2] and "why" in told[start + 3]
            await pilot.press("j")
            await pilot.pause()


async def test_story_goes_on_while_it_is_read(open_app: OpenApp, branched: Cockpit) -> None:
    async with open_app(branched) as pilot:
        await open_lineage(pilot, 6, "g", "j")
        branched.store.add(lambda number: make_round(number, parent=2, note="one more"))
        await until(pilot, lambda: "one more" in "\n".join(lines(pilot)), "the new round")
        assert view(pilot).selected_number == 2
        branched.remove(2)
        await until(pilot, lambda: "deleted" in "\n".join(lines(pilot)), "that it is gone")
        heads = [line[:6] for line in lines(pilot) if "●" in line or "○" in line]
        assert heads == [" ○ 2  ", " ├─● 3", " ├─● 5", "▶● 7  "]


async def test_wider_terminal_is_used(open_app: OpenApp, reference: Cockpit) -> None:
    async with open_app(reference) as pilot:
        await open_lineage(pilot, 5, "g")
        before = len([line for line in lines(pilot) if line])
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: len([line for line in lines(pilot) if line]) < before, "longer lines")


async def test_mouse_chooses_and_opens(open_app: OpenApp, reference: Cockpit) -> None:
    async with open_app(reference) as pilot:
        await open_lineage(pilot, 5, "g")
        y = next(y for y, line in enumerate(lines(pilot)) if "● 3" in line)
        await pilot.click(LineageTree, offset=(10, y + 1))
        assert view(pilot).selected_number == 3
        await pilot.click(LineageTree, offset=(10, y))
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")


async def test_thousands_of_rounds_are_read_too(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    rounds = [make_round(number, parent=number // 2 or None, note=f"why {number}") for number in range(1, 3001)]
    async with open_app(idle_cockpit) as pilot:
        await pilot.app.push_screen(LineageScreen(idle_cockpit, rounds, 1500))
        await until(pilot, lambda: "why 1500" in "\n".join(lines(pilot)), "its lines")
        assert view(pilot).selected_number == 1500
        await pilot.press("h")
        assert view(pilot).selected_number == 750
        await until(pilot, lambda: "why 750" in "\n".join(lines(pilot)), "its parent")

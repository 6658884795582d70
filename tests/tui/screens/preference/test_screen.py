from __future__ import annotations

import errno
import os
import re
from functools import partial
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.preference.judgement_log import Judgement, append_judgement, read_judgements
from engine.preference.win_rate import WinRate, duels
from engine.spec.round import Round, Status
from scripts.scenes import lines_of
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.recorded_runs import write_spoken
from tests.support.rounds import make_round
from tui.screens.preference.screen import JudgeScreen

PROMPTS = ("tree", "river", "cloud", "stone")
SECRET = re.compile(r"\bround|\bbase\b|\bstep\b|alpha|beta|0001|0002|some/model|[12]\b(?! of)", re.IGNORECASE)


@pytest.fixture
def rounds(idle_cockpit: Cockpit) -> list[Round]:
    """Two rounds whose answers begin with `one` and `two`; those of their base model begin with `zero`."""
    both = []
    for name, word in (("alpha", "one"), ("beta", "two")):
        round_ = idle_cockpit.store.add(partial(make_round, name=name, note=f"{name}, the note"))
        replies = {prompt: (f"zero {prompt}", f"{word} {prompt}") for prompt in PROMPTS}
        write_spoken(idle_cockpit.workspace, round_, replies)
        both.append(round_)
    return both


async def open_test(pilot: AppPilot, *, mark: bool = True) -> None:
    """Open the blind test from the table: of the two rounds, or of the second and its base model."""
    await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
    await pilot.press(*(("g", "space", "down", "space") if mark else ()), "b")
    await until(pilot, lambda: on_screen(pilot, "JudgeScreen"), "the judge")
    await until(pilot, lambda: " of " in shown(pilot, "#title"), "the first pair")


async def until_asked(pilot: AppPilot, number: int) -> None:
    await until(pilot, lambda: shown(pilot, "#title").startswith(f"Blind test   {number} of 4"), f"prompt {number}")


def saved_judgements(cockpit: Cockpit) -> tuple[Judgement, ...]:
    return read_judgements(cockpit.workspace.judgements).valid


def key_for(pilot: AppPilot, word: str, keys: tuple[str, str] = ("left", "right")) -> str:
    """Return the key that prefers the answer that begins with `word`."""
    return keys[0] if shown(pilot, "#left").startswith(word) else keys[1]


async def test_answers_are_judged_and_the_result_is_shown_at_the_end(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        prompts = set()
        for number in range(1, 5):
            await until_asked(pilot, number)
            prompts.add(shown(pilot, "#prompt"))
            answers = {shown(pilot, "#left"), shown(pilot, "#right")}
            assert answers == {f"{word} {shown(pilot, '#prompt')}" for word in ("one", "two")}
            await pilot.press(key_for(pilot, "two", ("left", "right") if number % 2 else ("h", "l")))
        await until(pilot, lambda: "All prompts are judged" in shown(pilot, "#message"), "the end")
        assert prompts == set(PROMPTS)
        await pilot.press("enter")
        await until(pilot, lambda: "result after 4 of 4" in shown(pilot, "#title"), "the result")
        text = " ".join(" ".join(lines_of(pilot)).split())
        assert "Round 2 is preferred to round 1: 100 % of 4 (95 %: 51–100 %)." in text
        assert "4 for round 2, 0 for round 1, 0 tied." in text
        await pilot.press("z", "left")
        await pilot.pause()
        assert "result after 4 of 4" in shown(pilot, "#title"), "nothing is judged once the result is known"
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        await until(pilot, lambda: "preferred in 100 % of 4" in shown(pilot, "#detail"), "the result in the details")
    (rate,) = duels(saved_judgements(idle_cockpit)).values()
    assert rate == WinRate(0, 0, 4)


def visible_text(pilot: AppPilot) -> str:
    """Return all text on the screen and in its notifications."""
    notices = [str(notice.message) + notice.title for notice in pilot.app._notifications]
    return "\n".join([*lines_of(pilot), *notices])


@pytest.mark.parametrize(
    ("size", "mark"), [((80, 24), True), ((120, 36), False)], ids=["two rounds", "a round and its base model"]
)
async def test_nothing_tells_the_sides_apart_while_they_are_judged(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round], size: tuple[int, int], mark: bool
) -> None:
    async with open_app(idle_cockpit, size=size) as pilot:
        await open_test(pilot, mark=mark)
        for key in ("left", "t", "z", "s", "r"):
            await until(pilot, lambda: shown(pilot, "#prompt") in visible_text(pilot), "the prompt")
            text = visible_text(pilot)
            assert SECRET.findall(text.replace("expected: It is", "")) == []
            before = lines_written(idle_cockpit)
            await pilot.press(key)
            if key != "r":
                await until(pilot, partial(more_written, idle_cockpit, before), key)
            await pilot.pause()
        assert SECRET.findall(visible_text(pilot)) == []
        styles = [pilot.app.screen.query_one(name).styles for name in ("#left", "#right")]
        assert styles[0].color == styles[1].color and styles[0].border == styles[1].border
    names = {path.name for path in idle_cockpit.workspace.root.iterdir()}
    assert {name for name in names if not name.startswith("experiments.json")} == {"judgements.jsonl", "runs"}


def more_written(cockpit: Cockpit, before: int) -> bool:
    return lines_written(cockpit) > before


def lines_written(cockpit: Cockpit) -> int:
    """Return the number of lines in the file of judgements."""
    path = cockpit.workspace.judgements
    return len(path.read_text().splitlines()) if path.exists() else 0


async def test_tie_skip_and_taking_back(open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]) -> None:
    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        first = shown(pilot, "#prompt")
        await pilot.press("t")
        await until_asked(pilot, 2)
        await pilot.press("z")
        await until_asked(pilot, 1)
        assert shown(pilot, "#prompt") == first and saved_judgements(idle_cockpit) == ()
        await pilot.press("equals_sign")
        await until_asked(pilot, 2)
        for number in (3, 4):
            await pilot.press("s")
            await until_asked(pilot, number)
        await pilot.press("t")
        await until(pilot, lambda: "All prompts are judged" in shown(pilot, "#message"), "the end")
        assert sorted(judgement.verdict for judgement in saved_judgements(idle_cockpit)) == [
            "skip",
            "skip",
            "tie",
            "tie",
        ]
        await pilot.press("s")
        await until_asked(pilot, 3)
        await pilot.press("t")
        await until_asked(pilot, 4)
        await pilot.press("t")
        await until(pilot, lambda: "All prompts are judged" in shown(pilot, "#message"), "the end")
        assert [judgement.verdict for judgement in saved_judgements(idle_cockpit)] == ["tie"] * 4


async def test_reference_is_shown_and_hidden_by_r(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        reference = f"expected: It is {shown(pilot, '#prompt')}"
        assert not any("expected" in line for line in lines_of(pilot))
        await pilot.press("r")
        assert any(reference in line for line in lines_of(pilot))
        await pilot.press("t")
        await until_asked(pilot, 2)
        assert any(f"expected: It is {shown(pilot, '#prompt')}" in line for line in lines_of(pilot))
        await pilot.press("r")
        assert not any("expected" in line for line in lines_of(pilot))


async def test_judge_who_leaves_early_continues_at_the_same_prompt(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        await pilot.press(key_for(pilot, "one"))
        await until_asked(pilot, 2)
        before = shown(pilot, "#prompt"), shown(pilot, "#left")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        assert [str(notice.message) for notice in pilot.app._notifications] == [
            "1 of 4 judgements are saved: press b on the same rounds to continue"
        ]
        assert "preferred" not in shown(pilot, "#detail"), "an unfinished test shows no result"
        await pilot.press("b")
        await until_asked(pilot, 2)
        assert (shown(pilot, "#prompt"), shown(pilot, "#left")) == before
        await pilot.press("q")
        await until(pilot, lambda: not pilot.app.is_running, "the end")
        assert pilot.app.return_value == "1 of 4 judgements are saved: press b on the same rounds to continue"
    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        await until_asked(pilot, 2)
        assert (shown(pilot, "#prompt"), shown(pilot, "#left")) == before


async def test_result_is_shown_before_the_end_only_after_a_question(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert on_screen(pilot, "JudgeScreen"), "no result before the first judgement"
        await pilot.press("t")
        await until_asked(pilot, 2)
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("n")
        await until_asked(pilot, 2)
        await pilot.press("enter", "y")
        await until(pilot, lambda: "result after 1 of 4" in shown(pilot, "#title"), "the result")


async def test_second_key_does_not_judge_a_pair_that_was_not_seen(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]
) -> None:
    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, JudgeScreen)
        screen.action_judge("left")
        screen.action_judge("left")
        await until_asked(pilot, 2)
        await pilot.pause()
        assert len(saved_judgements(idle_cockpit)) == 1


async def test_judgement_that_the_disk_refuses_can_be_made_again(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, line: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        prompt = shown(pilot, "#prompt")
        with monkeypatch.context() as patch:
            patch.setattr("engine.preference.judgement_log._append", full)
            await pilot.press("t")
            await until(pilot, lambda: bool(pilot.app._notifications), "the refusal")
        notices = [str(notice.message) for notice in pilot.app._notifications]
        path = idle_cockpit.workspace.judgements
        assert notices == [
            f"the judgement could not be written to {path} (no space left on device): judge again when that is fixed"
        ]
        assert shown(pilot, "#prompt") == prompt
        await pilot.press("t")
        await until_asked(pilot, 2)
        assert len(saved_judgements(idle_cockpit)) == 1


async def test_long_answers_are_scrolled_together(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    round_ = idle_cockpit.store.add(make_round)
    texts = ["\n".join(f"{word} line {n}" for n in range(100)) for word in ("first", "second")]
    write_spoken(idle_cockpit.workspace, round_, {"a prompt": (texts[0], texts[1])})
    async with open_app(idle_cockpit, size=(120, 36)) as pilot:
        pilot.app.animation_level = "none"
        await open_test(pilot, mark=False)
        for key, line in (("pagedown", 40), ("G", 99), ("pageup", 50), ("k", 50), ("j", 50)):
            await pilot.press(key)
            await until(pilot, partial(both_visible, pilot, line), f"line {line} after {key}")
        await pilot.press("g")
        await until(pilot, lambda: any("a prompt" in text for text in lines_of(pilot)), "the prompt")


def both_visible(pilot: AppPilot, line: int) -> bool:
    """Return True if this line of both answers is visible, side by side."""
    return any(re.search(rf"line {line}\b.*line {line}\b", text) for text in lines_of(pilot))


async def test_rounds_that_cannot_be_judged_say_why(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]
) -> None:
    for status in (Status.IMPORTED, Status.FINISHED):
        idle_cockpit.store.add(partial(make_round, status=status))
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        await pilot.press("b")
        await until(pilot, lambda: "round 4 has no answers" in shown(pilot, "#message"), "the reason")
        assert "--set generation.examples=50" in shown(pilot, "#message")
        await pilot.press("left", "t", "s", "z", "r", "enter", "escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        await pilot.press("up", "b")
        await until(pilot, lambda: "round 3 was imported without its answers" in shown(pilot, "#message"), "the reason")
        await pilot.press("escape", "g", *("space", "down") * 3, "b")
        refusal = "3 rounds are marked: mark two to compare, or one to compare with its base model"
        await until(pilot, lambda: refusal in [notice.message for notice in pilot.app._notifications], "the refusal")


async def test_colleague_who_may_only_read_does_not_judge(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]
) -> None:
    async with open_app(Cockpit(idle_cockpit.workspace, lambda _: None, readonly=True)) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        await pilot.press("b")
        await until(pilot, lambda: bool(pilot.app._notifications), "the refusal")
        (notice,) = (str(notice.message) for notice in pilot.app._notifications)
        assert notice.endswith("is open for reading only: leave --readonly out to change it")
        assert on_screen(pilot, "RoundsScreen")
    assert not idle_cockpit.workspace.judgements.exists()


async def test_damaged_judgements_are_named(open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]) -> None:
    path = idle_cockpit.workspace.judgements
    path.mkdir()
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        await pilot.press("b")
        await until(pilot, lambda: "judgements.jsonl cannot be read" in shown(pilot, "#message"), "the reason")


async def test_ranking_follows_where_more_than_two_were_judged(
    open_app: OpenApp, idle_cockpit: Cockpit, rounds: list[Round]
) -> None:
    from engine.preference.blind_test import Session, open_contest

    workspace = idle_cockpit.workspace
    session = Session(open_contest(workspace, rounds[0], None), read_judgements(workspace.judgements))
    while session.current is not None:
        session.keep(line := session.judge("tie"))
        append_judgement(workspace.judgements, line)
    async with open_app(idle_cockpit) as pilot:
        await open_test(pilot)
        for number in range(1, 5):
            await until_asked(pilot, number)
            await pilot.press(key_for(pilot, "two"))
        await until(pilot, lambda: "All prompts are judged" in shown(pilot, "#message"), "the end")
        await pilot.press("enter")
        await until(pilot, lambda: any("All rounds that were" in line for line in lines_of(pilot)), "the ranking")
        rows = [line.split() for line in lines_of(pilot) if line.rstrip().endswith(("alpha", "beta", "some/model"))]
        assert [row[1] for row in rows] == ["2", "base", "1"]

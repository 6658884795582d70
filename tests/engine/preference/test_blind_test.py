from __future__ import annotations

import random

import pytest

from engine.api import Cockpit
from engine.errors import RoundError
from engine.preference.blind_test import Choice, Contest, Session, open_contest
from engine.preference.judgement_log import Judgements, Side, append_judgement, read_judgements
from engine.preference.win_rate import WinRate
from engine.spec.round import Round, Status
from tests.support.recorded_runs import write_spoken
from tests.support.rounds import make_round

PROMPTS = [f"prompt {number}" for number in range(12)]
CHOICES: tuple[Choice, ...] = ("left", "right", "tie", "skip")


def answered(cockpit: Cockpit, number: int, texts: dict[str, str] | None = None, *, scored: bool = True) -> Round:
    """A round that was trained; what it says to each prompt names it unless told otherwise."""
    round_ = make_round(number)
    texts = texts if texts is not None else {prompt: f"{number} to {prompt}" for prompt in PROMPTS}
    replies = {prompt: (f"base to {prompt}", text) for prompt, text in texts.items()}
    write_spoken(cockpit.workspace, round_, replies, scored=scored)
    return round_


@pytest.fixture
def contest(idle_cockpit: Cockpit) -> Contest:
    return open_contest(idle_cockpit.workspace, answered(idle_cockpit, 1), answered(idle_cockpit, 2))


def test_same_prompts_are_paired_whichever_round_is_named_first(idle_cockpit: Cockpit, contest: Contest) -> None:
    rounds = [make_round(1), make_round(2)]
    assert open_contest(idle_cockpit.workspace, rounds[1], rounds[0]) == contest
    assert [(pair.first, pair.second) for pair in contest.pairs] == [(f"1 to {p}", f"2 to {p}") for p in PROMPTS]
    assert contest.pairs[0].expected == "It is prompt 0"
    assert (contest.first, contest.second) == (
        Side("some/model", "0001-00c0ffee", 10), Side("some/model", "0002-00c0ffee", 10),
    )  # fmt: skip
    assert (contest.alike, contest.sampled) == (0, False)


def test_round_meets_its_base_model(idle_cockpit: Cockpit) -> None:
    contest = open_contest(idle_cockpit.workspace, answered(idle_cockpit, 1), None)
    assert contest.first == Side("some/model")
    assert [(pair.first, pair.second) for pair in contest.pairs] == [(f"base to {p}", f"1 to {p}") for p in PROMPTS]


def test_samples_stand_in_where_one_has_no_scored_answers(idle_cockpit: Cockpit) -> None:
    first, second = answered(idle_cockpit, 1, scored=False), answered(idle_cockpit, 2, scored=False)
    write_spoken(idle_cockpit.workspace, second, {"other": ("a", "b")})
    contest = open_contest(idle_cockpit.workspace, first, second)
    assert (len(contest.pairs), contest.sampled) == (12, True)


def test_answers_alike_are_not_asked_for(idle_cockpit: Cockpit) -> None:
    first = answered(idle_cockpit, 1, {"a": "same \n text", "b": "one", "only here": "x"})
    second = answered(idle_cockpit, 2, {"a": "same\n text", "b": "two", "only there": "x"})
    contest = open_contest(idle_cockpit.workspace, first, second)
    assert ([pair.prompt for pair in contest.pairs], contest.alike) == (["b"], 1)


def test_what_cannot_be_judged_is_told_with_what_to_do(idle_cockpit: Cockpit) -> None:
    spoken = answered(idle_cockpit, 1)
    other = answered(idle_cockpit, 2, {"another prompt": "x"})
    imported = make_round(4, Status.IMPORTED)
    workspace = idle_cockpit.workspace
    with pytest.raises(RoundError, match=r"^round 4 was imported without its answers, .* --set generation.examples=50"):
        open_contest(workspace, imported, spoken)
    with pytest.raises(RoundError, match=r"^round 3 has no answers to held-out prompts yet, .*generation.examples=50"):
        open_contest(workspace, spoken, make_round(3))
    with pytest.raises(RoundError, match=r"^rounds 1 and 2 have no prompts in common"):
        open_contest(workspace, spoken, other)
    with pytest.raises(RoundError, match=r"^round 3 has no answers"):
        open_contest(workspace, make_round(3), None)


def seen_order(session: Session) -> list[tuple[str, tuple[str, str]]]:
    """Judge all that waits as ties; returns what was shown."""
    shown = []
    while (pair := session.current) is not None:
        shown.append((pair.prompt, session.answers(pair)))
        session.keep(session.judge("tie"))
    return shown


def test_order_and_sides_are_the_same_for_one_seed_and_others_for_another(contest: Contest) -> None:
    once = Session(contest, Judgements())
    started = once.judge("left")
    again = Session(contest, Judgements((started,)))
    assert again.seed == once.seed
    assert seen_order(once)[1:] == seen_order(again)
    others = [seen_order(Session(contest, Judgements())) for _ in range(40)]
    assert len({tuple(order) for order in others}) == 40
    lefts = [side[0].startswith("1 ") for order in others for _, side in order]
    assert 0.4 < sum(lefts) / len(lefts) < 0.6
    assert len({order[0][0] for order in others}) > 6


def test_where_one_stands_does_not_follow_from_the_order(contest: Contest) -> None:
    """Over many seeds the first prompt that is shown has each side on the left about as often."""
    firsts = [seen_order(Session(contest, Judgements()))[0][1][0].startswith("1 ") for _ in range(400)]
    assert 160 < sum(firsts) < 240


def test_verdict_is_the_sides_wherever_they_stand(contest: Contest) -> None:
    session = Session(contest, Judgements())
    while (pair := session.current) is not None:
        left, right = session.answers(pair)
        session.keep(session.judge("left" if left.startswith("2 ") else "right"))
        assert {left, right} == {pair.first, pair.second}
    assert session.rate == WinRate(0, 0, 12)


def test_nothing_moves_on_before_it_is_kept(contest: Contest) -> None:
    session = Session(contest, Judgements())
    shown = session.current
    session.judge("left")
    assert session.current is shown and session.done == 0


def test_session_goes_on_from_the_file_wherever_it_was_left(idle_cockpit: Cockpit, contest: Contest) -> None:
    path = idle_cockpit.workspace.judgements
    chance = random.Random(5)
    shown: list[str] = []
    for _ in range(12):
        session = Session(contest, read_judgements(path))
        assert session.done == len(shown) and session.current is not None
        shown.append(session.current.prompt)
        append_judgement(path, session.judge(chance.choice(CHOICES)))
    assert sorted(shown) == sorted(PROMPTS)
    final = Session(contest, read_judgements(path))
    assert final.current is None and final.skipped + final.rate.count == 12


def test_last_judgement_is_taken_back_also_one_of_an_earlier_session(idle_cockpit: Cockpit, contest: Contest) -> None:
    path = idle_cockpit.workspace.judgements
    session = Session(contest, Judgements())
    assert session.take_back() is None
    shown = []
    for choice in ("left", "skip", "tie"):
        assert session.current is not None
        shown.append(session.current.prompt)
        line = session.judge(choice)
        append_judgement(path, line)
        session.keep(line)
    session = Session(contest, read_judgements(path))
    for prompt in reversed(shown):
        back = session.take_back()
        assert back is not None
        append_judgement(path, back)
        session.keep(back)
        assert session.current is not None and session.current.prompt == prompt
    assert session.done == 0 and read_judgements(path) == Judgements()


def test_skipped_are_asked_again_when_wanted(contest: Contest) -> None:
    session = Session(contest, Judgements())
    for place in range(12):
        session.keep(session.judge("skip" if place % 4 == 0 else "tie"))
    assert (session.current, session.skipped, session.rate) == (None, 3, WinRate(0, 9, 0))
    session.ask_skipped()
    assert session.done == 9
    session.keep(session.judge("tie"))
    session.keep(session.judge("skip"))
    assert (session.done, session.skipped, session.rate) == (11, 2, WinRate(0, 10, 0))
    back = session.take_back()
    assert back is not None
    session.keep(back)
    assert (session.done, session.skipped) == (10, 1)


def test_judgements_of_others_count_for_nothing_here(idle_cockpit: Cockpit, contest: Contest) -> None:
    of_base = open_contest(idle_cockpit.workspace, make_round(1), None)
    before = Session(of_base, Judgements()).judge("tie")
    session = Session(contest, Judgements((before,)))
    assert session.done == 0 and session.seed != before.seed

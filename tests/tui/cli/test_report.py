from __future__ import annotations

import json
from functools import partial

import pytest

from engine.api import Cockpit
from engine.preference.judgement_log import append_judgement
from tests.support.judged import BASE, FIRST, SECOND, preferred
from tests.support.rounds import make_round
from tui.cli import main


@pytest.fixture
def judged(idle_cockpit: Cockpit) -> Cockpit:
    for name in ("alpha", "beta"):
        idle_cockpit.store.add(partial(make_round, name=name))
    path = idle_cockpit.workspace.judgements
    for number in range(10):
        append_judgement(path, preferred(str(number), "second" if number < 9 else "tie"))
        append_judgement(path, preferred(str(number), "second", sides=(BASE, FIRST)))
    return idle_cockpit


def run(cockpit: Cockpit, *words: str) -> int:
    return main.main(["ranking", *words, "--workspace", str(cockpit.workspace.root)], lambda _: None)


def test_rounds_are_listed_the_best_first(judged: Cockpit, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(judged) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[:4]]
    assert [row[:2] for row in rows] == [["place", "round"], ["1", "2"], ["2", "1"], ["3", "base"]]
    assert [row[-1] for row in rows[1:]] == ["beta", "alpha", "some/model"]
    assert [row[2:5] for row in rows[1:]] == [["10", "95", "%"], ["20", "52", "%"], ["10", "0", "%"]]
    assert lines[5].startswith("round 2 is preferred to round 1: 95 % of 10 (95 %: ")
    assert lines[6].startswith("round 1 is preferred to the base model: 100 % of 10 (95 %: 72–100 %)")


def test_json_has_the_numbers(judged: Cockpit, capsys: pytest.CaptureFixture[str]) -> None:
    with judged.workspace.judgements.open("a") as file:
        file.write('{"torn')
    assert run(judged, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["round"], row["name"], row["judgements"]) for row in told["ranking"]] == [
        (2, "beta", 10), (1, "alpha", 20), (None, "", 10),
    ]  # fmt: skip
    assert told["ranking"][0]["win_rate"] == 0.95
    low, high = told["ranking"][0]["worth_interval"]
    assert low < told["ranking"][0]["worth"] < high
    assert (told["groups"], told["left_out"], told["unread"]) == (1, 0, 1)


def test_what_is_left_out_is_told(judged: Cockpit, capsys: pytest.CaptureFixture[str]) -> None:
    judged.remove(2)
    assert run(judged) == 0
    told = capsys.readouterr().out
    assert "10 judgements of deleted rounds or of earlier answers are left out" in told
    assert "beta" not in told
    judged.restore(2)
    assert run(judged) == 0
    assert "left out" not in capsys.readouterr().out


def test_groups_that_never_met_are_told(judged: Cockpit, capsys: pytest.CaptureFixture[str]) -> None:
    other = BASE.__class__("other/model"), SECOND.__class__("other/model", judged.store.add(make_round).id, 10)
    append_judgement(judged.workspace.judgements, preferred("a", "tie", sides=other))
    assert run(judged) == 0
    assert "There are 2 groups of rounds that were never judged against each other" in capsys.readouterr().out


def test_nothing_judged_is_told(idle_cockpit: Cockpit, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(idle_cockpit) == 0
    assert capsys.readouterr().out.startswith("no answers have been judged yet: press b on the table of rounds")
    idle_cockpit.workspace.judgements.mkdir()
    assert run(idle_cockpit) == 2
    assert "judgements.jsonl cannot be read (it is a directory)" in capsys.readouterr().err

"""Rounds scored on other data: what is kept of it, and where it is shown."""

from __future__ import annotations

import json

import pytest

from engine.api import Cockpit
from engine.compare.extra_evaluations import (
    EvaluationSummary,
    evaluation_cells,
    evaluation_fields,
    read_evaluations,
    write_evaluation,
)
from engine.report.write_up import to_report
from tests.support.markdown import tables_of
from tests.support.recorded_runs import SCORED, add_scored, scored_on
from tests.support.rounds import make_round
from tui.cli.main import main


@pytest.fixture
def scored(idle_cockpit: Cockpit) -> Cockpit:
    add_scored(idle_cockpit)
    return idle_cockpit


def test_summary_is_read_without_the_scores_and_read_as_people_do(scored: Cockpit) -> None:
    """exp(1.05) is 2.858, exp(1.16) 3.190."""
    evaluations = read_evaluations(scored.workspace.run_dir(scored.store.get(1).id))
    assert [type(item) for item in evaluations] == [EvaluationSummary] * 2
    assert evaluation_cells(evaluations[0]) == ("a.jsonl", "1,200", "1.1000", "3.30", "2.86–3.19", "5.47")
    assert {"scores", "base_scores"}.isdisjoint(evaluation_fields(evaluations[0]))


def test_show_has_them_beside_the_rounds_own_result(scored: Cockpit, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--workspace", str(scored.workspace.root))
    assert main(["show", "1", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("held out of some/data"))
    assert lines[start].split()[-2:] == ["2.72", "5.00"]
    assert [line.split() for line in lines[start + 1 : start + 3]] == [
        ["a.jsonl", "1,200", "1.1000", "3.30", "2.86–3.19", "5.47"],
        ["b.jsonl", "1,200", "1.1000", "3.00", "2.86–3.19", "5.47"],
    ]
    assert main(["show", "2", "--json", *where]) == 0
    (evaluation,) = json.loads(capsys.readouterr().out)["evaluations"]
    assert (evaluation["data"]["path"], evaluation["rows"], evaluation["perplexity"], evaluation["sha256"]) == (
        "a.jsonl",
        1200,
        3.4,
        "c0ffee",
    )
    assert main(["show", "3", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["evaluations"] == []


def test_report_sets_rounds_beside_each_other_on_each_file(scored: Cockpit) -> None:
    document = to_report(scored.workspace, scored.store.rounds())
    table = next(table for table in tables_of(document) if table[0][0] == "data")
    assert [row[:5] for row in table] == [
        ["data", "round", "rows", "eval loss", "perplexity"],
        ["a.jsonl", "1", "1,200", "1.1000", "3.30"],
        ["a.jsonl", "2", "1,200", "1.1000", "3.40"],
        ["b.jsonl", "1", "1,200", "1.1000", "3.00"],
    ]
    assert "## On other data" in document
    assert "## On other data" not in to_report(scored.workspace, scored.store.rounds()[2:])


def test_path_that_steers_a_terminal_is_text_wherever_it_stands(
    idle_cockpit: Cockpit, capsys: pytest.CaptureFixture[str]
) -> None:
    round_ = idle_cockpit.store.add(lambda number: make_round(number, result=SCORED))
    run = idle_cockpit.workspace.run_dir(round_.id)
    run.path.mkdir(parents=True)
    write_evaluation(run, scored_on("\x1b]0;gone\x07<b>|`x`.jsonl", 3.0))
    for words in (["show", "1"], ["show", "1", "--json"]):
        assert main([*words, "--workspace", str(idle_cockpit.workspace.root)]) == 0
        assert "\x1b" not in capsys.readouterr().out
    document = to_report(idle_cockpit.workspace, [round_])
    table = next(table for table in tables_of(document) if table[0][0] == "data")
    assert "\x1b" not in document and table[1][1:3] == ["1", "1,200"] and "<b>|`x`.jsonl" in table[1][0]

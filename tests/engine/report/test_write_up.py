"""The report, read back by a Markdown parser."""

from __future__ import annotations

import itertools
import os
import shlex
import statistics
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

from engine.api import Cockpit
from engine.compare.seed_groups import seed_groups
from engine.files.paths import Workspace
from engine.preference.judgement_log import append_judgement
from engine.report.write_up import pictures_beside, to_report, write_report
from engine.runs.event_log import EventWriter
from engine.runs.events import Answered, Provenance, Sampled
from engine.spec.overrides import spec_from_settings
from engine.spec.round import Result, Round, Status
from engine.store.round_store import RoundStore
from tests.support.judged import BASE, SECOND, preferred
from tests.support.markdown import COMMENT, HOSTILE, flat, folded, parse, tables_of
from tests.support.recorded_runs import trained, write_run
from tests.support.rounds import make_round, make_spec


def headings(document: str) -> list[str]:
    pairs = itertools.pairwise(parse(document))
    return [following.content for token, following in pairs if token.type == "heading_open"]


def fences(document: str) -> list[str]:
    return [token.content for token in parse(document) if token.type == "fence"]


def test_reference_rounds_read_as_the_story_they_are(reference_workspace: Workspace) -> None:
    rounds = RoundStore(reference_workspace).rounds()
    document = to_report(reference_workspace, rounds)
    assert headings(document) == [
        "Rounds 1 to 5", "Setup", "Base model", "Data", "LoRA", "Training", "Scored answers", "Rounds",
        "Changes and their results",
        *(f"Round {number}: tinyllama-alpaca" for number in range(1, 6)), "How to reproduce",
    ]  # fmt: skip
    base, data, _, _, _, main, *changed = tables_of(document)
    assert ["model.path", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"] in base
    assert ["data.seed", "42"] in data and "2,340 rows to train on, 260 held out." in document
    best = "Best, among those measured on the same held-out tokens: round 2** (tinyllama-alpaca). Perplexity 3.16, eval"
    assert best in document
    assert [row[-1] for row in main] == ["perplexity", "4.79", "3.16", "3.19", "3.62", "3.38"]
    assert changed[-1] == [
        ["setting", "round 4", "round 5"], ["train.learning_rate", "5e-5", "3e-5"], ["train.warmup_steps", "50", "100"]
    ]  # fmt: skip
    assert "Round 4 came out worse, probably too bold" in document
    assert "Perplexity 3.16, eval loss 1.1518." in document
    assert (
        "\nAgainst round 1, perplexity fell: 4.79 -&gt; 3.16 (-34.0 %). Round 1 kept no scores of its held-out rows, "
        "so it is not known whether the difference is real.\n" in document
    )


def test_commands_train_the_specs_again(reference_workspace: Workspace) -> None:
    rounds = RoundStore(reference_workspace).rounds()
    commands = [shlex.split(text) for text in fences(to_report(reference_workspace, rounds))]
    assert [spec_from_settings(None, words[3::2]) for words in commands] == [round_.spec for round_ in rounds]


def test_what_is_said_of_a_difference_is_what_the_rows_say(idle_cockpit: Cockpit) -> None:
    first = trained(idle_cockpit, [1.0], best=1)
    second = trained(idle_cockpit, [1.5], best=1)
    second = idle_cockpit.store.update(second.number, parent=first.number)
    document = to_report(idle_cockpit.workspace, [first, second])
    assert "Round 2 is worse than round 1: perplexity +6" in document
    assert "From round 1, with the same settings." in document
    elsewhere = make_round(3, spec=make_spec(data__seed=7), parent=1, result=Result(perplexity=3.0))
    assert (
        "Against round 1, perplexity was measured on other held-out tokens: other examples (data.seed).\n"
        in to_report(idle_cockpit.workspace, [first, elsewhere])
    )


def record_run(
    workspace: Workspace, round_: Round, answers: dict[int, str], prompt: str = "Why?", **origin: str
) -> Round:
    run = workspace.run_dir(round_.id)
    run.path.mkdir(parents=True, exist_ok=True)
    writer = EventWriter(run.events)
    writer.append(Provenance(time=0.0, device=origin.get("device", "T4"), libraries={"torch": "2.1"}, command="x"))
    for step, text in answers.items():
        writer.append(Sampled(time=0.0, step=step, prompt=prompt, expected="Because.", text=text))
    writer.close()
    return round_


def test_samples_stand_side_by_side_and_machines_apart(workspace: Workspace) -> None:
    rounds = [
        record_run(workspace, make_round(1), {0: "base", 5: "early", 9: "late"}),
        record_run(workspace, make_round(2), {0: "base", 9: "other"}, device="A100"),
    ]
    samples, machines = tables_of(to_report(workspace, rounds))[-2:]
    assert samples == [
        ["", "answer"], ["expected", "Because."], ["base model", "base"], ["round 1", "late"], ["round 2", "other"]
    ]  # fmt: skip
    assert machines == [["", "round 1", "round 2"], ["device", "T4", "A100"], ["torch", "2.1", "2.1"]]


def test_scored_answers_stand_beside_the_base_models_and_say_how_they_were_counted(workspace: Workspace) -> None:
    def answered(number: int, bleu: float, **settings: object) -> Round:
        result = Result(perplexity=3.0, generation={"bleu": bleu, "rouge1": 0.5}, base_generation={"bleu": 1.0})
        return make_round(number, spec=make_spec(**{"generation__examples": 8, **settings}), result=result)

    rounds = [answered(1, 20.0), answered(2, 30.04), answered(3, 90.0, data__seed=7), make_round(4)]
    for item in rounds[:1]:
        run = workspace.run_dir(item.id)
        run.path.mkdir(parents=True)
        writer = EventWriter(run.events)
        writer.append(Answered(time=0.0, step=9, examples=8, scores={"bleu": 20.0}, signatures={"bleu": "nrefs:1|x"}))
        writer.close()
    document = to_report(workspace, rounds)
    table = next(table for table in tables_of(document) if "BLEU" in table[0])
    assert table == [
        ["", "prompts", "BLEU", "chrF", "ROUGE-1", "ROUGE-2", "ROUGE-L"],
        ["base model", "8", "1.0", "", "", "", ""],
        ["round 1", "8", "20.0", "", "0.500", "", ""],
        ["round 2", "8", "30.0", "", "0.500", "", ""],
        ["round 3", "8", "≁ 90.0", "", "≁ 0.500", "", ""],
    ]
    assert "| **30.0** |" in document and "| ≁ 90.0 |" in document
    assert "Computed by BLEU nrefs:1\\|x." in document


def test_warnings_that_all_rounds_have_are_told_once(workspace: Workspace) -> None:
    rounds = [make_round(number, warnings=("few rows", f"only {number}")) for number in (1, 2)]
    document = to_report(workspace, rounds)
    assert document.count("few rows") == 1 < document.index("few rows") < document.index("## Rounds")
    assert to_report(workspace, rounds[:1]).count("few rows") == 1


def test_chapters_come_by_number_and_hashes_are_short(workspace: Workspace) -> None:
    rounds = [make_round(1), make_round(2, parent=1), make_round(3, parent=1), make_round(4, parent=2)]
    record_run(workspace, rounds[0], {}, device="a" * 64)
    document = to_report(workspace, rounds)
    assert [text for text in headings(document) if text.startswith("Round ")] == [f"Round {n}" for n in (1, 2, 3, 4)]
    assert ["device", f"{'a' * 16}…"] in tables_of(document)[-1]


def test_seeds_of_one_spec_are_taken_together(workspace: Workspace) -> None:
    def measured(number: int, seed: int, perplexity: float, **settings: object) -> Round:
        spec = make_spec(train__seed=seed, **settings)
        return make_round(number, spec=spec, result=Result(perplexity=perplexity))

    rounds = [
        measured(1, 1, 3.0), measured(2, 2, 3.2), measured(3, 3, 3.1), measured(4, 1, 9.0, lora__r=2),
        measured(5, 2, 9.0, data__seed=7), make_round(6, Status.FAILED, spec=make_spec(train__seed=9), result=Result()),
    ]  # fmt: skip
    (group,) = seed_groups(rounds)
    assert [item.number for item in group.rounds] == [1, 2, 3]
    assert group.mean == pytest.approx(3.1)
    assert group.deviation == pytest.approx(statistics.stdev([3.0, 3.2, 3.1]))
    (with_twice,) = seed_groups([*rounds, measured(7, 2, 3.4)])  # its second seed comes to 3.3, and counts once
    assert (with_twice.mean, with_twice.deviation) == pytest.approx((9.4 / 3, statistics.stdev([3.0, 3.3, 3.1])))
    table = next(table for table in tables_of(to_report(workspace, rounds)) if table[0][0] == "rounds")
    assert table[1] == ["rounds 1, 2 and 3", "1, 2, 3", "3.10 ± 0.10"]


def test_pictures_are_beside_the_report_and_in_it(workspace: Workspace, tmp_path: Path) -> None:
    rounds = [make_round(number) for number in range(1, 13)]
    for round_ in (*rounds[:2], rounds[11]):
        write_run(workspace, round_, 1, 5)
    path = tmp_path / "my report.md"
    pictures = write_report(workspace, rounds, path)
    assert pictures == pictures_beside(rounds, path, "svg") == [
        tmp_path / "my report-curves-1.svg", tmp_path / "my report-curves-2.svg"
    ]  # fmt: skip
    linked = [token.attrs["src"] for token in flat(parse(path.read_text())) if token.type == "image"]
    assert linked == ["my%20report-curves-1.svg", "my%20report-curves-2.svg"]
    assert all(ElementTree.parse(picture).getroot().tag.endswith("svg") for picture in pictures)


def test_pictures_are_drawn_in_a_workspace_whose_path_is_not_utf8(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / os.fsdecode(b"caf\xe9"))
    rounds = [make_round(1), make_round(2)]
    for round_ in rounds:
        write_run(workspace, round_, 1, 5)
    pictures = write_report(workspace, rounds, workspace.root / "report.md")
    assert pictures and all(ElementTree.parse(picture).getroot().tag.endswith("svg") for picture in pictures)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(workspace: Workspace, text: str) -> None:
    spec = make_spec(model__path=text, data__path=text)
    parent = make_round(1, spec=make_spec(), name="a")
    round_ = make_round(2, spec=spec, parent=1, name=text, note=text, message=text, warnings=(text,))
    record_run(workspace, round_, {0: text, 3: text}, prompt=text, device=text)
    document = to_report(workspace, [parent, round_])
    tokens = flat(parse(document))
    assert {token.content for token in tokens if token.type == "html_inline"} <= {COMMENT}
    assert not [token for token in tokens if token.type in ("html_block", "link_open", "image", "list_item_open", "hr")]
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h2") == 6
    assert len(fences(document)) == 3
    tables = tables_of(document)
    assert all(len(row) == len(table[0]) for table in tables for row in table)
    assert [row[1] for row in tables[-2][2:]] == [folded(text).strip() or "(nothing)"] * 2


def test_report_of_nothing_says_so(workspace: Workspace) -> None:
    assert to_report(workspace, []).startswith("# No rounds\n")


def test_round_that_knows_nothing_is_told(workspace: Workspace) -> None:
    bare = msgspec.structs.replace(make_round(1, Status.HELD), result=Result())
    assert "Not measured (held)." in to_report(workspace, [bare])


def test_what_people_preferred_is_told(idle_cockpit: Cockpit) -> None:
    workspace = idle_cockpit.workspace
    rounds = [idle_cockpit.store.add(make_round) for _ in range(2)]
    assert "Human judgement" not in headings(to_report(workspace, rounds))
    for number in range(10):
        append_judgement(workspace.judgements, preferred(str(number), "second"))
        append_judgement(workspace.judgements, preferred(str(number), "tie", sides=(BASE, SECOND)))
    document = to_report(workspace, rounds)
    assert "Human judgement" in headings(document)
    (table,) = (table for table in tables_of(document) if "judgements" in table[0])
    assert [row[:3] for row in table[1:]] == [
        ["round 2", "20", "75 %"], ["the base model", "10", "50 %"], ["round 1", "10", "0 %"],
    ]  # fmt: skip
    assert "Round 2 is preferred to round 1: 100 % of 10 (95 %: 72–100 %)." in document
    assert "the base model" not in to_report(workspace, rounds[:1]), "what it was judged against is not in the report"

"""Rounds side by side as a document, read back by a Markdown parser."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from engine.compare.diff import compared_fields
from engine.compare.verdict import Verdict
from engine.errors import LoratuiError
from engine.files.paths import Workspace
from engine.report.chart_client import Format
from engine.report.comparison_document import picture_beside, to_document, write_comparison
from engine.spec.round import Result, Round, Status
from engine.store.round_store import RoundStore
from tests.support.markdown import COMMENT, HOSTILE, flat, folded, parse, tables_of
from tests.support.recorded_runs import write_run
from tests.support.rounds import make_round, make_spec


def images(document: str) -> list[str]:
    """Return the targets of the pictures in a document."""
    return [str(token.attrs["src"]) for token in flat(parse(document)) if token.type == "image"]


def test_table_holds_what_differs_between_the_reference_rounds(reference_workspace: Workspace) -> None:
    rounds = RoundStore(reference_workspace).rounds()[1:4]
    main, shared = tables_of(to_document(rounds, None, rounds))
    assert main[0] == ["field", "round 2", "round 3", "round 4"]
    by_field = {row[0]: row[1:] for row in main[1:]}
    assert by_field["train.learning_rate"] == ["5e-5", "2e-5", "5e-5"]
    assert by_field["perplexity"] == ["3.16", "3.19", "3.62"]
    assert by_field["against round 2"] == ["–", "+0.9 %", "+14.6 %"]
    assert "train.per_device_train_batch_size" not in by_field and "name" not in by_field
    assert ["train.per_device_train_batch_size", "8"] in shared and ["model.dtype", "float16"] in shared
    both = {row[0] for row in main} & {row[0] for row in shared}
    assert not both
    spec_keys = {row[0] for row in (*main, *shared) if "." in row[0]}
    assert spec_keys == {field.key for field in compared_fields(rounds) if "." in field.key}


def test_best_of_each_measure_is_bold_and_explained(reference_workspace: Workspace) -> None:
    document = to_document(RoundStore(reference_workspace).rounds(), None)
    assert "| perplexity | 4.79 | **3.16** | 3.19 | 3.62 | 3.38 |" in document
    assert "**Bold**: the best among the rounds measured on the same held-out tokens." in document
    assert "Imported" not in document


def test_what_does_not_compare_and_has_no_curve_is_said() -> None:
    rounds = [
        make_round(1),
        make_round(2, Status.IMPORTED, spec=make_spec(data__seed=1), result=Result(perplexity=2.0)),
        make_round(3, Status.QUEUED),
    ]
    document = to_document(rounds, "x.svg", rounds[1:])
    assert "≁: Round 2 was measured on other held-out tokens than round 1: " in document
    assert "Imported without a run, so without a curve: round 2.\n" in document
    assert "Without a curve: round 3.\n" in document


def test_whether_a_difference_is_real_is_in_the_table_and_in_a_sentence() -> None:
    sentence = "round 2 is better than round 1: perplexity -9.5 %"
    document = to_document([make_round(1), make_round(2)], None, (), [Verdict(), Verdict("better", sentence, "better")])
    assert "| is it real? | – | better |" in document
    assert "\n## Is the difference real?\n\n- Round 2 is better than round 1: perplexity -9.5 %.\n" in document
    assert "real?" not in to_document([make_round(1), make_round(2)], None, (), [Verdict(), Verdict()])


@pytest.mark.sample(3)
@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("name", ["out.md", "a b (1) [x] ü %20.md", "no-suffix", "two.dots.md"])
@pytest.mark.parametrize("format_", ["svg", "png"])
def test_picture_lies_beside_the_document_which_links_to_it(
    workspace: Workspace, tmp_path: Path, name: str, format_: Format
) -> None:
    rounds = [make_round(1, note="why"), make_round(2, spec=make_spec(lora__r=16))]
    write_run(workspace, rounds[0], 1, 3)
    path = tmp_path / name
    picture = write_comparison(workspace, rounds, path, format_)
    (source,) = images(path.read_text())
    assert picture is not None and tmp_path / unquote(source) == picture
    assert picture.read_bytes()[:4] == (b"<?xm" if format_ == "svg" else b"\x89PNG")
    assert picture.stat().st_mode & 0o077 == 0
    assert "Without a curve: round 2." in path.read_text()


def test_rounds_without_curves_make_a_document_alone(reference_workspace: Workspace, tmp_path: Path) -> None:
    rounds = RoundStore(reference_workspace).rounds()
    assert write_comparison(reference_workspace, rounds, tmp_path / "x.md") is None
    assert [file.name for file in tmp_path.glob("x*")] == ["x.md"]
    assert images((tmp_path / "x.md").read_text()) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    spec = make_spec(model__path=text, data__path=text)
    rounds = [make_round(1, spec=spec, name=text, note=text), make_round(2, name="b", warnings=(text,))]
    document = to_document(rounds, "x.svg")
    main, _ = tables_of(document)
    by_field = {row[0]: row[1:] for row in main[1:]}
    assert {len(row) for row in main} == {3}
    assert by_field["name"] == [folded(text) or "–", "b"]
    assert by_field["model.path"][0] == by_field["data.path"][0] == folded(text)
    tokens = flat(parse(document))
    assert {token.content for token in tokens if token.type == "html_inline"} <= {COMMENT}
    assert not {"link_open", "html_block", "em_open", "s_open", "fence"} & {token.type for token in tokens}
    assert images(document) == ["x.svg"]


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (0, "0 rounds are too few to compare: choose 2 to 10"), (1, "one round is too few to compare: choose 2 to 10"),
        (11, "11 rounds are too many to compare: choose 2 to 10"),
    ],
)  # fmt: skip
def test_too_few_or_too_many_rounds_are_refused(
    workspace: Workspace, tmp_path: Path, count: int, sentence: str
) -> None:
    rounds: list[Round] = [make_round(number) for number in range(1, count + 1)]
    with pytest.raises(LoratuiError, match=sentence):
        write_comparison(workspace, rounds, tmp_path / "x.md")
    assert not (tmp_path / "x.md").exists()


def test_path_that_takes_no_picture_beside_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoratuiError, match="would be the picture: name the Markdown file"):
        picture_beside(tmp_path / "x.SVG")
    with pytest.raises(LoratuiError, match="is not a file"):
        picture_beside(Path("/dev/null"))
    assert picture_beside(tmp_path / "x.md", "png") == tmp_path / "x.png"


def test_directory_that_is_not_there_is_told(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.md"
    with pytest.raises(LoratuiError, match=f"{path} could not be written: no such file"):
        write_comparison(workspace, [make_round(1), make_round(2)], path)

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from engine.files.paths import Workspace
from engine.report.export import export_rounds, to_markdown
from engine.spec.round import Result, Round, Status
from engine.store.round_store import RoundStore
from engine.text.markdown import escape_markdown
from engine.text.sanitize import clean
from tests.support.markdown import ACTED_ON, COMMENT, HOSTILE, TextNodes, flat, folded, parse, tables_of, text_of
from tests.support.rounds import make_round, make_spec


def test_markdown_tables_hold_the_reference_values(reference_workspace: Workspace) -> None:
    main, shared = tables_of(to_markdown(RoundStore(reference_workspace).rounds()))
    assert main[0] == [
        *("round", "name", "learning rate", "batch × accum", "epochs", "warm-up", "r", "lora_alpha"),
        *("status", "time", "eval loss", "perplexity"),
    ]
    assert len(main) == 6
    first = dict(zip(main[0], main[1], strict=True))
    assert first == {
        "round": "1",
        "name": "tinyllama-alpaca",
        "learning rate": "2e-4",
        "batch × accum": "4 × 8",
        "epochs": "3",
        "warm-up": "100",
        "r": "8",
        "lora_alpha": "32",
        "status": "imported",
        "time": "7m1s",
        "eval loss": "1.5667",
        "perplexity": "4.79",
    }
    second = dict(zip(main[0], main[2], strict=True))
    assert (second["learning rate"], second["batch × accum"], second["perplexity"]) == ("5e-5", "8 × 4", "3.16")
    settings = {row[0]: row[1] for row in shared[1:]}
    assert settings["model.path"] == "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    assert settings["lora.target_modules"] == "q_proj, v_proj"
    assert "train.learning_rate" not in settings


def test_lowest_perplexity_is_bold_once(reference_workspace: Workspace) -> None:
    rounds = RoundStore(reference_workspace).rounds()
    document = to_markdown(rounds)
    best = min(round_.result.perplexity for round_ in rounds if round_.result.perplexity)
    assert document.count(f"| **{best:.2f}** |") == 1
    assert "**Bold**: the lowest perplexity" in document


def test_result_that_does_not_compare_is_marked_and_explained() -> None:
    sure = Result(eval_loss=1.0, perplexity=2.72, eval_loss_interval=(0.9, 1.1))
    rounds = [
        make_round(1), make_round(2, result=sure), make_round(3, spec=make_spec(data__seed=7), result=sure),
        make_round(4, Status.QUEUED, spec=make_spec(data__seed=7)),
    ]  # fmt: skip
    document = to_markdown(rounds)
    main = tables_of(document)[0]
    assert [row[main[0].index("perplexity")] for row in main[1:]] == ["3.32", "2.72", "≁ 2.72", ""]
    assert [row[main[0].index("95 % interval")] for row in main[1:]] == ["", "2.46–3.00", "2.46–3.00", ""]
    assert "95 % interval: the perplexity on" in document
    assert "\n≁: Round 3 was measured on other held-out tokens than round 1: other examples (data.seed).\n" in document
    assert "≁" not in to_markdown(rounds[:2]) and "95 %" not in to_markdown(rounds[:1])


def test_fields_that_differ_become_columns() -> None:
    rounds = [make_round(1), make_round(2, spec=make_spec(data__seed=7, data__samples=None))]
    main, shared = tables_of(to_markdown(rounds))
    assert [row[main[0].index("data.seed")] for row in main] == ["data.seed", "42", "7"]
    assert [row[main[0].index("data.samples")] for row in main] == ["data.samples", "100", "all"]
    assert not {"data.seed", "data.samples"} & {row[0] for row in shared}


def test_columns_with_nothing_to_tell_are_left_out() -> None:
    document = to_markdown([make_round(1, Status.QUEUED)])
    assert {"eval loss", "perplexity", "time", "name"}.isdisjoint(tables_of(document)[0][0])
    assert "Bold" not in document


def test_no_rounds_make_a_document_still() -> None:
    for format_ in ("markdown", "csv", "json"):
        assert export_rounds([], format_).endswith("\n")
    assert json.loads(export_rounds([], "json")) == []


def test_notes_tell_why_with_their_origin() -> None:
    document = to_markdown([make_round(2, note="wider", parent=1, message="stopped", warnings=("w",)), make_round(3)])
    assert "- **Round 2** (from round 1): wider; stopped; w\n" in document
    assert "**Round 3**" not in document


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    spec = make_spec(model__path=text, data__path=text)
    rounds = [make_round(1, spec=spec, name=text, note=text), make_round(2, name="b", message=text, warnings=(text,))]
    document = to_markdown(rounds)
    main, _ = tables_of(document)
    assert {len(row) for row in main} == {len(main[0])}
    assert len(main) == 3
    assert main[1][main[0].index("name")] == folded(text)
    assert main[1][main[0].index("model.path")] == folded(text)
    assert main[1][main[0].index("data.path")] == folded(text)
    tokens = flat(parse(document))
    assert {token.content for token in tokens if token.type == "html_inline"} <= {COMMENT}
    types = {token.type for token in tokens if token.content != COMMENT}
    assert types <= {
        *("heading_open", "heading_close", "inline", "text", "paragraph_open", "paragraph_close"),
        *("strong_open", "strong_close", "code_inline", "softbreak"),
        *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close"),
        *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close"),
        *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
    }
    notes = [text_of(token) for token in parse(document) if token.type == "inline" and token.level > 2][-2:]
    assert notes == [f"Round 1: {folded(text)}", f"Round 2: {folded(text)}; {folded(text)}"]


TEXT = st.text(st.characters(exclude_categories=()))
MARKUP = st.text(st.sampled_from("ab_*`~|\\[]()<>!&#;:/.@ \n$-=+w1\x1b\x9b\u202e"), max_size=40)


@given(TEXT | MARKUP)
def test_escaped_text_is_shown_as_it_was(text: str) -> None:
    (inline,) = (token for token in parse(f"x {escape_markdown(text)} x") if token.type == "inline")
    assert {token.type for token in inline.children or [] if token.content != COMMENT} <= {"text"}
    assert folded(text_of(inline)) == folded(f"x {text} x")


@given(TEXT | MARKUP)
def test_escaped_text_is_one_table_cell(text: str) -> None:
    escaped = escape_markdown(text)
    ((_, row),) = tables_of(f"| a | b |\n| --- | --- |\n| {escaped} | end |\n")
    assert row == [folded(text), "end"]


@given(TEXT | MARKUP)
def test_escaped_text_gives_github_no_link_or_tag_to_find(text: str) -> None:
    escaped = escape_markdown(text)
    assert not re.search(r"(?i)//|www\.|@|[<>]", escaped.replace(COMMENT, ""))
    page = MarkdownIt("gfm-like", {"html": True}).render(f"x {escaped} x")
    assert not [node for node in TextNodes(page).found if ACTED_ON.search(node)]


@pytest.mark.parametrize("text", ["@octocat", "a #12 b", "GH-7", ":smile:", "$x^2$ and $y$", "$$x$$", "see gh-1 @a #2"])
def test_what_github_acts_on_is_known_to_the_test_and_parted(text: str) -> None:
    (node,) = TextNodes(MarkdownIt("gfm-like").render(f"x {text} x")).found[:1]
    assert ACTED_ON.search(node)
    page = MarkdownIt("gfm-like", {"html": True}).render(f"x {escape_markdown(text)} x")
    assert not [node for node in TextNodes(page).found if ACTED_ON.search(node)]


def read_csv(rounds: list[Round]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(export_rounds(rounds, "csv"), newline="")))


def test_csv_holds_raw_values() -> None:
    finished = make_round(1, result=Result(perplexity=3.16123, train_seconds=421.5, adapter_dir="runs/x/adapter"))
    queued = make_round(2, Status.QUEUED, warnings=("a", "b"))
    first, second = read_csv([finished, queued])
    assert float(first["perplexity"]) == 3.16123
    assert float(first["train_seconds"]) == 421.5
    assert first["adapter_dir"] == "runs/x/adapter"
    assert float(first["train.learning_rate"]) == 2e-4
    assert (second["perplexity"], second["warnings"], second["status"]) == ("", "a; b", "queued")


@pytest.mark.parametrize("text", [*HOSTILE, "a\rb", '"quoted", comma', "\r=1"])
def test_csv_reads_back_as_written(text: str) -> None:
    (row,) = read_csv([make_round(1, name=text, note="n")])
    expected = clean(text.replace("\r\n", "\n").replace("\r", "\n"))
    assert row["name"] in (expected, f"'{expected}")
    assert row["note"] == "n"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", " =", "\u00a0@"])
def test_csv_quotes_what_a_spreadsheet_would_run(start: str) -> None:
    (row,) = read_csv([make_round(1, name=f"{start}cmd|' /C calc'!A0", note=start)])
    assert row["name"].startswith("'")
    assert row["note"].startswith("'")


def test_json_is_the_contract_of_ls() -> None:
    (listed,) = json.loads(export_rounds([make_round(3, note="<&>", parent=1)], "json"))
    assert {"id", "number", "name", "status", "note", "spec", "plan", "result"} <= set(listed)
    assert "process" not in listed
    assert (listed["number"], listed["status"], listed["note"], listed["parent"]) == (3, "finished", "<&>", 1)
    assert listed["spec"]["train"]["learning_rate"] == 2e-4
    assert listed["result"] == {
        "eval_loss": 1.2,
        "eval_loss_interval": None,
        "perplexity": 3.32,
        "base_perplexity": None,
        "train_seconds": 421.0,
        "trained_tokens": None,
        "peak_memory_bytes": None,
        "adapter_dir": None,
        "generation": {},
        "base_generation": {},
        "held_out_rows": None,
        "step": None,
        "energy_kwh": None,
    }


def test_export_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    file.write_text(export_rounds([make_round(1, note="é 🦙")], "markdown"), encoding="utf-8")
    assert "é 🦙" in file.read_text(encoding="utf-8")

"""Texts that are longer than `data.max_length` are cut into windows, and every token is trained on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from engine.dataset.preview import windows_of
from engine.errors import SpecError
from engine.planning.row_lengths import examples_of
from engine.preflight.checks import UNKNOWN_WINDOWS, check
from engine.training.data.cut import cut, windows
from engine.training.data.tokenize import Example
from engine.training.workers.preview import RowPreviews
from engine.training.workers.row_lengths import measure
from tests.support.rounds_to_train import (
    as_in_the_engine,
    make_example,
    make_run,
    prepared,
    prepared_in,
    spec_of,
    train_here,
    warned_in,
)
from tui.views.preview import preview_facts

TEXT = "A lamp is a lamp, and a river is a river.\n" * 30


def tokens_of(pieces: list[Example]) -> list[int]:
    return pieces[0].tokens.tolist() + [token for piece in pieces[1:] for token in piece.tokens[1:].tolist()]


@given(st.integers(2, 200), st.integers(8, 64))
def test_each_token_is_predicted_once(length: int, max_length: int) -> None:
    pieces = windows(make_example(range(length), 1), max_length)
    assert tokens_of(pieces) == list(range(length))
    predicted = [token for piece in pieces for token in piece.tokens[piece.supervised].tolist()]
    assert predicted == list(range(1, length))
    sizes = [len(piece) for piece in pieces]
    assert max(sizes) <= max_length and max(sizes) - min(sizes) <= 1
    # Each window but the first repeats a token, so fewer could not hold them all.
    assert len(pieces) == windows_of(length, max_length) == math.ceil((length - 1) / (max_length - 1))


def test_only_texts_are_cut_into_windows() -> None:
    examples = [make_example(range(20), 1), make_example(range(5), 1)]
    in_windows = cut(examples, 8, in_windows=True)
    assert sum(example.supervised_tokens for example in in_windows.examples) == 19 + 4
    assert (in_windows.used_rows, in_windows.cut, in_windows.warnings(8)) == (2, 1, [])
    cut_off = cut(examples, 8)
    assert [len(example) for example in cut_off.examples] == [8, 5]
    with pytest.raises(
        SpecError, match=r"data\.max_length is 64 tokens: the text fills no 2 windows of so many: add more"
    ):
        cut(examples[:1], 64, in_windows=True)


def test_file_of_text_is_trained_on_whole(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "book.txt"
    file.write_text(TEXT)
    run = make_run(tmp_path / "run", tiny_model, data__path=str(file), data__max_length=40, data__eval_fraction=0.2,
                   train__num_train_epochs=1.0)  # fmt: skip
    preflight = check(spec_of(run))
    assert (preflight.plan.total_steps, UNKNOWN_WINDOWS in preflight.warnings) == (None, True)
    with as_in_the_engine():
        measured = examples_of(spec_of(run), measure(spec_of(run)))
    planned = check(spec_of(run), measured)
    assert (planned.is_about, UNKNOWN_WINDOWS in planned.warnings) == (False, False)
    events = train_here(run)
    plan, first = planned.plan, prepared_in(events)
    assert (plan.train_samples, plan.eval_samples, plan.total_steps) == (
        first.train_samples, first.eval_samples, first.total_steps
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokens = tokenizer(TEXT).input_ids
    count = math.ceil(len(tokens) / 39)  # with the token that ends it
    assert prepared_in(events).train_samples + prepared_in(events).eval_samples == count
    assert not [warning for warning in warned_in(events) if "cut" in warning]
    assert (
        f"1 of 1 texts are longer than data.max_length 40 tokens: together with the others they make {count} windows"
        in (capsys.readouterr().out)
    )
    with prepared(make_run(tmp_path / "again", tiny_model, data__path=str(file), data__max_length=40)) as again:
        supervised = sum(example.supervised_tokens for example in (*again.train, *again.held_out))
    assert supervised == len(tokens)  # all but the first, and the one that ends the text


def test_plan_knows_the_rows_of_texts_that_need_no_windows(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text((json.dumps({"text": "é" * 19}) + "\n") * 10)
    spec = spec_of(make_run(tmp_path / "run", tiny_model, data__path=str(file), data__max_length=40))
    assert check(spec).plan.train_samples == 9
    shorter = msgspec.structs.replace(spec, data=msgspec.structs.replace(spec.data, max_length=39))
    assert check(shorter).plan.train_samples is None


def test_preview_counts_the_windows_of_a_text(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "book.md"
    file.write_text(TEXT)
    spec = spec_of(make_run(tmp_path / "run", tiny_model, data__path=str(file), data__max_length=40))
    with as_in_the_engine():
        preview = RowPreviews(spec).show(1)
    assert preview.windows == windows_of(preview.tokens, 40) > 1
    assert not any(segment.cut for segment in preview.segments) and preview.problem is None
    text = preview_facts(preview).plain
    assert f"row 1 of 1: {preview.tokens:,} tokens in {preview.windows} windows" in text
    assert "1 of 1 rows is longer than max_length 40, and cut into windows" in text

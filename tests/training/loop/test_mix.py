"""Rounds that train on several sources."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.errors import LoratuiError, SpecError
from engine.preflight.checks import check
from engine.runs.events import Provenance
from engine.runs.provenance import provenance_lines
from engine.training.evaluation.perplexity import example_hash
from engine.training.model.adapter import MODEL_CARD
from tests.support.rounds_to_train import make_rows, make_run, prepared, prepared_in, spec_of, train_here, warned_in
from tests.support.rounds_to_train import write_rows as write


@pytest.fixture
def mixed(tmp_path: Path, tiny_model: Path) -> dict[str, Any]:
    """Settings that mix half of six rows of one file and twice five of another."""
    rows = make_rows(51)
    half, twice = write(tmp_path / "half.jsonl", rows[40:46]), write(tmp_path / "twice.jsonl", rows[46:])
    return {"data__samples": 8, "data__eval_fraction": 0.2, "data__mix": f"0.5*{half}, 2*{twice}",
            "train__num_train_epochs": 1}  # fmt: skip


def test_each_source_comes_as_often_as_its_weight_says(tiny_model: Path, tmp_path: Path, mixed: dict[str, Any]) -> None:
    run = make_run(tmp_path / "r", tiny_model, **mixed)
    plan = check(spec_of(run)).plan
    with prepared(run) as training, prepared(make_run(tmp_path / "s", tiny_model, **mixed)) as again:
        assert [list(map(example_hash, part)) for part in (training.train, training.held_out)] == [
            list(map(example_hash, part)) for part in (again.train, again.held_out)
        ]
        times = Counter(Counter(map(example_hash, training.train)).values())
        # 6 of 8 rows once, half of 4 of 6 rows once, 4 of 5 rows twice; the others are held out.
        assert times == {1: 6 + 2, 2: 4}
        assert len(training.held_out) == 2 + 2 + 1
        assert not set(map(example_hash, training.train)) & set(map(example_hash, training.held_out))
        assert (plan.train_samples, plan.eval_samples) == (len(training.train), len(training.held_out))
        assert plan == training.plan


def test_sources_are_trained_on_and_recorded(
    tiny_model: Path, tmp_path: Path, mixed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "r", tiny_model, **mixed)
    events = train_here(run)
    assert prepared_in(events).train_samples == 16
    assert not [warning for warning in warned_in(events) if "held-out rows are in the training rows" in warning]
    assert "an epoch has 16 rows: data 38%, " in capsys.readouterr().out
    provenance = next(event for event in events if isinstance(event, Provenance))
    assert [line.split()[0].rpartition("/")[2] for line in provenance.mixed] == ["half.jsonl", "twice.jsonl"]
    assert all(len(line.split()[1]) == 64 for line in provenance.mixed)
    assert "mixed data" in dict(provenance_lines(provenance))
    card = (run.adapter / MODEL_CARD).read_text()
    assert "0.5\\*half.jsonl, 2\\*twice.jsonl" in card and str(tmp_path) not in card


def test_rows_of_one_source_that_are_held_out_of_another_are_counted(tiny_model: Path, tmp_path: Path) -> None:
    same = write(tmp_path / "same.jsonl", make_rows(8))
    run = make_run(tmp_path / "r", tiny_model, data__samples=8, data__eval_fraction=0.25, data__mix=f"{same}",
                   data__seed=1, train__num_train_epochs=1)  # fmt: skip
    # Both sources are split alike, so what is held out of one is held out of the other.
    assert not [warning for warning in warned_in(train_here(run)) if "token for token" in warning]
    other = write(tmp_path / "other.jsonl", make_rows(8)[::-1])
    run = make_run(tmp_path / "s", tiny_model, data__samples=8, data__eval_fraction=0.25, data__mix=f"{other}",
                   data__seed=1, train__num_train_epochs=1)  # fmt: skip
    assert [warning for warning in warned_in(train_here(run)) if "token for token" in warning]


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("/no/rows.jsonl", "data.mix has '/no/rows.jsonl': no such file or directory"),
        ("0*rows.jsonl", "data.mix has '0*rows.jsonl': it must be a path or hub name such as"),
        ("{}[:99]", "data.mix: samples is 99, but {} has 6 rows: set it to at most 6"),
    ],
    ids=["no file", "no weight", "too few rows"],
)
def test_refusals_name_the_source(tiny_model: Path, tmp_path: Path, mix: str, message: str) -> None:
    file = write(tmp_path / "rows.jsonl", make_rows(6))
    run = make_run(tmp_path / "r", tiny_model, data__mix=mix.format(file))
    with pytest.raises(LoratuiError) as caught:
        check(spec_of(run))
    assert caught.value.message.startswith(message.format(file))
    assert not isinstance(caught.value, SpecError) or caught.value.key == "data.mix"

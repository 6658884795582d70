"""Rounds with a held-out set of their own, and rounds that hold nothing out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.compare.significance import verdict
from engine.errors import LoratuiError, SpecError
from engine.files.paths import RunDir, Workspace
from engine.preflight.checks import NOTHING_HELD_OUT, check
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Evaluated, Finished, Provenance, Sampled
from engine.runs.scores import read_scores
from engine.runs.snapshot import RunSnapshot, plan_of
from engine.spec.data import DataSpec
from engine.spec.plan import make_plan
from engine.spec.round import Result
from engine.training.data.load import load_sets
from engine.training.data.tokenize import split
from engine.training.evaluation.perplexity import example_hash
from engine.training.model.adapter import MODEL_CARD
from tests.support.rounds import make_round
from tests.support.rounds_to_train import (
    make_example,
    make_rows,
    make_run,
    prepared,
    prepared_in,
    spec_of,
    train_here,
    warned_in,
    write_rows,
)


@pytest.fixture(scope="module")
def unmeasured(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, list[AnyEvent]]:
    """A finished round of a spec that holds nothing out."""
    directory = tmp_path_factory.mktemp("unmeasured") / "runs" / "r1"
    run = make_run(directory, tiny_model, data__eval_fraction=0.0, data__samples=8, train__num_train_epochs=2)
    return run, train_here(run)


def own_set(directory: Path, count: int = 6) -> Path:
    return write_rows(directory / "held-out.jsonl", make_rows(40 + count)[40:])


def test_a_set_of_its_own_is_measured_and_all_other_rows_are_trained_on(tiny_model: Path, tmp_path: Path) -> None:
    held_out = own_set(tmp_path)
    run = make_run(
        tmp_path / "r", tiny_model, data__eval_path=str(held_out), data__samples=8, train__num_train_epochs=1
    )
    events = train_here(run)
    assert (prepared_in(events).train_samples, prepared_in(events).eval_samples) == (8, 6)
    scores = read_scores(run, 2)
    assert scores is not None
    # The same rows as the only file, half of them held out: the same hashes.
    with prepared(make_run(tmp_path / "s", tiny_model, data__path=str(held_out), data__eval_fraction=0.5)) as training:
        assert set(map(example_hash, (*training.train, *training.held_out))) == set(scores.examples)
    provenance = next(event for event in events if isinstance(event, Provenance))
    assert provenance.held_out_data is not None and provenance.held_out_data != provenance.data
    spec = spec_of(run)
    plan = make_plan(spec, 8, 6)
    assert plan_of(RunSnapshot(events), spec, plan) == plan == check(spec).plan


def test_eval_samples_takes_the_first_rows_of_the_set(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"data__eval_path": str(own_set(tmp_path)), "data__eval_samples": 3}
    spec = spec_of(make_run(tmp_path / "r", tiny_model, **settings))
    assert [len(rows.usable) for rows in load_sets(spec.data)] == [40, 3]
    assert check(spec).plan.eval_samples == 3


def test_held_out_rows_are_written_as_the_training_rows_are(tiny_model: Path, tmp_path: Path) -> None:
    """One training row has a system message, so `auto` reads all as conversations, the held-out ones too."""
    rows = make_rows(4)
    rows[0]["system"] = "Be brief."
    file = write_rows(tmp_path / "rows.jsonl", rows)
    run = make_run(tmp_path / "r", tiny_model, data__path=str(file), data__eval_path=str(own_set(tmp_path)))
    train, held_out = load_sets(spec_of(run).data)
    assert {type(row).__name__ for row in (*train.usable, *held_out.usable)} == {"Conversation"}


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"data__eval_path": "/no/set.jsonl"}, "", "data.eval_path is '/no/set.jsonl': no such file or directory"),
        ({"data__eval_split": "test"}, "data.eval_split", "data.eval_split is test, but only a directory, or"),
        ({"data__eval_samples": 5}, "data.eval_samples", "data.eval_samples is 5, but no held-out set is named"),
        (
            {"data__eval_fraction": 0.0, "train__early_stopping_patience": 2},
            "train.early_stopping_patience",
            "train.early_stopping_patience needs held-out rows, and data.eval_fraction is 0",
        ),
        (
            {"data__eval_fraction": 0.0, "train__load_best_model_at_end": True},
            "train.load_best_model_at_end",
            "train.load_best_model_at_end needs held-out rows",
        ),
        ({"data__eval_fraction": 0.0, "generation__examples": 2}, "generation.examples", "generation.examples needs"),
    ],
    ids=["no file", "split of a file", "number without a set", "patience", "best", "answers"],
)
def test_refusals_name_the_field(
    tiny_model: Path, tmp_path: Path, settings: dict[str, object], key: str, message: str
) -> None:
    with pytest.raises(LoratuiError) as caught:
        check(spec_of(make_run(tmp_path / "r", tiny_model, **settings)))
    assert caught.value.message.startswith(message)
    assert (caught.value.key if isinstance(caught.value, SpecError) else "") == key


def test_more_eval_samples_than_rows_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"data__eval_path": str(own_set(tmp_path)), "data__eval_samples": 9}
    spec = spec_of(make_run(tmp_path / "r", tiny_model, **settings))
    for read in (lambda: check(spec), lambda: load_sets(spec.data)):
        with pytest.raises(LoratuiError, match=r"data\.eval_samples is 9, but .* has 6 rows: set it to at most 6"):
            read()


def test_the_training_data_itself_is_no_held_out_set(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", tiny_model)
    spec = spec_of(make_run(tmp_path / "s", tiny_model, data__path=str(run.path / "rows.jsonl"),
                            data__eval_path=str(run.path / "rows.jsonl")))  # fmt: skip
    with pytest.raises(SpecError, match="the held-out set would be the training data itself"):
        check(spec)


def test_without_a_held_out_set_every_row_is_trained_on_and_nothing_is_measured(
    unmeasured: tuple[RunDir, list[AnyEvent]],
) -> None:
    run, events = unmeasured
    assert (prepared_in(events).train_samples, prepared_in(events).eval_samples) == (8, 0)
    assert not [event for event in events if isinstance(event, Evaluated | Sampled)]
    last = events[-1]
    assert isinstance(last, Finished)
    result = last.result
    assert (result.eval_loss, result.perplexity, result.base_perplexity, result.held_out_rows) == (None,) * 4
    assert result.trained_tokens and result.train_seconds and math.isfinite(result.train_seconds)
    assert not RunSnapshot(read_events(run.events)).result.held_out_rows
    card = (run.adapter / MODEL_CARD).read_text()
    assert "No rows were held out of training" in card and "| perplexity" not in card


def test_round_without_a_held_out_set_says_that_it_cannot_be_compared(
    unmeasured: tuple[RunDir, list[AnyEvent]], tmp_path: Path
) -> None:
    run, _ = unmeasured
    spec = spec_of(run)
    assert NOTHING_HELD_OUT in check(spec).warnings
    assert check(spec).plan.eval_samples == 0
    other = make_round(2, result=Result(perplexity=3.0, eval_loss=math.log(3)))
    against = verdict(Workspace(tmp_path), other, make_round(1, spec=spec, result=Result()))
    assert against.word == "not comparable"
    assert against.sentence == "round 1 held out no rows (data.eval_fraction 0), so it cannot be compared"


def test_split_of_fraction_0_keeps_every_row() -> None:
    examples = [make_example([1, 2, number], 1) for number in range(10)]
    train, held_out = split(examples, DataSpec(path="", eval_fraction=0.0))
    assert {id(example) for example in train} == set(map(id, examples)) and len(train) == 10
    assert held_out == []


def test_copies_of_held_out_rows_are_dropped_from_training(tiny_model: Path, tmp_path: Path) -> None:
    rows = make_rows(8)
    file = write_rows(tmp_path / "rows.jsonl", rows)
    held_out = write_rows(tmp_path / "held-out.jsonl", [rows[1], rows[4], *make_rows(43)[41:]])
    settings: dict[str, object] = {"data__path": str(file), "data__eval_path": str(held_out)}
    with prepared(make_run(tmp_path / "r", tiny_model, **settings)) as training:
        kept, measured = (set(map(example_hash, part)) for part in (training.train, training.held_out))
        assert len(training.train) == 8
    run = make_run(tmp_path / "s", tiny_model, **settings, data__drop_copies=True, train__num_train_epochs=1)
    events = train_here(run)
    assert warned_in(events) == ["2 of 8 training rows are dropped, as they are held out too, token for token"]
    assert (prepared_in(events).train_samples, prepared_in(events).eval_samples) == (6, 4)
    scores = read_scores(run, 2)
    assert scores is not None and set(scores.examples) == measured and len(kept - measured) == 6


def test_copies_alone_are_nothing_to_train_on(tiny_model: Path, tmp_path: Path) -> None:
    files = [write_rows(tmp_path / f"{name}.jsonl", make_rows(4)) for name in "ab"]
    run = make_run(tmp_path / "r", tiny_model, data__path=str(files[0]), data__eval_path=str(files[1]),
                   data__drop_copies=True)  # fmt: skip
    with pytest.raises(SpecError, match="every row to train on is held out too"), prepared(run):
        pass

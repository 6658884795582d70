from __future__ import annotations

import pytest

from engine.compare.columns import TEXT_SCORES, columns, find_column
from engine.errors import SpecError
from engine.spec.fields import spec_fields
from engine.spec.round import Result, Status, Trial
from tests.support.rounds import make_round, make_spec

ROUND = make_round(
    7,
    spec=make_spec(lora__r=16, train__learning_rate=5e-5, data__samples=2600),
    name="wide",
    note="wider",
    parent=3,
    message="done",
    trial=Trial(sweep=2, setting=13, point={"lora.r": "16"}),
    result=Result(
        eval_loss=1.23456,
        perplexity=3.16,
        base_perplexity=412.84,
        train_seconds=534.0,
        trained_tokens=1_234_567,
        peak_memory_bytes=5 * 1024**3,
        energy_kwh=0.125,
    ),
)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("number", 7, "7"),
        ("#", 7, "7"),
        ("name", "wide", "wide"),
        ("status", "finished", "finished"),
        ("lr", 5e-5, "5e-5"),
        ("learning_rate", 5e-5, "5e-5"),
        ("train.learning_rate", 5e-5, "5e-5"),
        ("r", 16, "16"),
        ("alpha", 32, "32"),
        ("dropout", 0.1, "0.1"),
        ("batch", 4, "4"),
        ("accum", 8, "8"),
        ("effective_batch", 32, "32"),
        ("epochs", 3.0, "3"),
        ("warmup", 0.0, "0"),
        ("total_steps", 222, "222"),
        ("target_modules", ("q_proj", "v_proj"), "q_proj, v_proj"),
        ("gradient_checkpointing", "auto", "auto"),
        ("loss", 1.23456, "1.2346"),
        ("ppl", 3.16, "3.16"),
        ("base_perplexity", 412.84, "412.8"),
        ("time", 534.0, "8m54s"),
        ("trained_tokens", 1_234_567, "1.23M"),
        ("peak_memory_bytes", 5 * 1024**3, "5.0 GiB"),
        ("energy_kwh", 0.125, "0.12 kWh"),
        ("parent", 3, "3"),
        ("note", "wider", "wider"),
        ("message", "done", "done"),
        ("sweep", 2, "2"),
        ("setting", 13, "13"),
    ],
)
def test_column_is_found_by_the_names_people_use(name: str, value: object, text: str) -> None:
    column = find_column(name)
    assert column.value(ROUND) == value
    assert column.text(ROUND) == text


def test_every_field_of_a_spec_is_a_column() -> None:
    assert set(spec_fields()) <= set(columns())
    assert all(key == column.key for key, column in columns().items())


def test_every_column_can_be_told_of_a_round_that_knows_nothing() -> None:
    bare = make_round(1, Status.HELD, spec=make_spec(data__samples=None))
    texts = {key: column.text(bare) for key, column in columns().items()}
    unknown = {key for key, text in texts.items() if not text}
    no_columns = {
        "adapter_dir", "nonfinite", "eval_loss_interval", "generation", "base_generation", "held_out_rows", "step",
    }  # fmt: skip
    measured = {*Result.__struct_fields__, "perplexity_interval", *TEXT_SCORES} - no_columns
    assert {"total_steps", "data.samples", *measured} <= unknown
    assert all(columns()[key].value(bare) in (None, "") for key in unknown)


@pytest.mark.parametrize("name", ["seed", "path"])
def test_ambiguous_name_is_refused_with_its_meanings(name: str) -> None:
    with pytest.raises(SpecError, match=rf"'{name}' could be \w+\.{name} or \w+\.{name}: write it out"):
        find_column(name)


@pytest.mark.parametrize(
    ("name", "meant"), [("pplx", "ppl"), ("LR", "lr"), ("eval-loss", "eval_loss"), ("perplexty", "perplexity")]
)
def test_name_that_is_nearly_right_is_refused_with_the_right_one(name: str, meant: str) -> None:
    with pytest.raises(SpecError, match=rf"no column {name!r}: do you mean {meant}( or \w+)?\?"):
        find_column(name)


@pytest.mark.parametrize("name", ["", "zzz", ".r"])
def test_unknown_name_is_refused_with_the_known(name: str) -> None:
    with pytest.raises(SpecError, match=rf"no column {name!r}: choose one of #, lr, .*perplexity"):
        find_column(name)


def test_change_is_against_the_parent_and_the_base_model_measured_on_the_same_tokens() -> None:
    parent = make_round(1, result=Result(perplexity=4.0))
    child = make_round(2, parent=1, result=Result(perplexity=3.0, base_perplexity=30.0))
    apart = make_round(3, parent=1, spec=make_spec(data__seed=1), result=Result(perplexity=2.0))
    orphan = make_round(4, parent=9, result=Result(perplexity=2.0))
    rounds = {round_.number: round_ for round_ in (parent, child, apart, orphan)}
    against_parent, against_base = find_column("vs_parent"), find_column("vs_base")
    assert [against_parent.value(round_, rounds) for round_ in rounds.values()] == [None, -25.0, None, None]
    assert against_parent.text(child, rounds) == "-25.0 %"
    assert against_parent.text(child) == ""
    assert against_base.text(child) == "-90.0 %"
    assert against_base.value(parent) is None

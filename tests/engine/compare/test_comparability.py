"""Rounds that are comparable, and the reasons why others are not."""

from __future__ import annotations

import pytest

from engine.compare.comparability import (
    are_comparable,
    held_out_groups,
    incomparable_reasons,
    moved,
    moved_from_base,
    why_incomparable,
)
from engine.compare.verdict import movement
from engine.spec.round import Result, Status
from tests.support.rounds import make_round, make_spec, measured_on

OTHER_TOKENS = [
    ("model__path", "other", "another tokenizer (model.path)"),
    ("data__path", "other", "other examples (data.path)"),
    ("data__seed", 7, "other examples (data.seed)"),
    ("data__samples", 50, "other examples (data.samples)"),
    ("data__max_length", 64, "other examples (data.max_length)"),
    ("data__eval_fraction", 0.2, "other examples (data.eval_fraction)"),
    ("data__prompt_template", "{prompt}", "another prompt template (data.prompt_template)"),
    ("data__supervised_tokens", "all", "other supervised tokens (data.supervised_tokens)"),
]


@pytest.mark.parametrize(("key", "value", "why"), OTHER_TOKENS)
def test_rounds_measured_on_other_tokens_have_not_moved(key: str, value: object, why: str) -> None:
    first = make_round(1, result=Result(perplexity=4.0))
    second = make_round(2, spec=make_spec(**{key: value}), result=Result(perplexity=2.0))
    assert moved(first, second) is None and not are_comparable(first, second)
    assert why_incomparable(first, second) == why
    assert movement(first, second) == f"perplexity was measured on other held-out tokens: {why}"


def test_rows_that_rounds_say_they_were_measured_on_decide() -> None:
    """Whatever the specs say: another base model may have the same tokenizer, and a data file may change."""
    first, same, other = measured_on(1, "a"), measured_on(2, "a", model__path="larger"), measured_on(3, "b")
    assert are_comparable(first, same) and why_incomparable(first, same) == ""
    assert not are_comparable(first, other)
    assert why_incomparable(first, other) == (
        "other examples or another tokenizer (the files of data.path or model.path have changed in between)"
    )
    groups = held_out_groups([first, same, other])
    assert groups[1] == groups[2] != groups[3]


def test_round_that_does_not_say_its_rows_goes_by_its_spec() -> None:
    silent, named, elsewhere = measured_on(1, None), measured_on(2, "a"), measured_on(3, None, data__seed=1)
    assert are_comparable(silent, named) and not are_comparable(silent, elsewhere)
    groups = held_out_groups([silent, named, elsewhere])
    assert groups[1] == groups[2] != groups[3]
    groups = held_out_groups([silent, named, measured_on(4, "b")])
    assert len(set(groups.values())) == 3, "of two sets of rows it is not known which they were"


def test_all_that_differs_is_named() -> None:
    spec = make_spec(data__seed=1, data__samples=50, data__prompt_template="{prompt}", lora__r=2)
    others = [make_round(2, spec=spec), make_round(3, spec=spec), make_round(5, Status.QUEUED, spec=spec)]
    rounds = [measured_on(1, None), *others, measured_on(4, None, data__seed=1)]
    assert incomparable_reasons(rounds, rounds[0]) == [
        "rounds 2 and 3 were measured on other held-out tokens than round 1: another prompt template "
        "(data.prompt_template) and other examples (data.samples, data.seed)",
        "round 4 was measured on other held-out tokens than round 1: other examples (data.seed)",
    ]


def test_rounds_of_other_hyperparameters_are_measured_on_the_same_tokens() -> None:
    first = make_round(1, result=Result(perplexity=4.0))
    second = make_round(2, spec=make_spec(lora__r=64, train__seed=3), result=Result(perplexity=3.0))
    change = moved(first, second)
    assert change is not None
    assert (change.before, change.after, change.percent, change.word) == (4.0, 3.0, -25.0, "fell")


def test_base_model_is_measured_on_a_rounds_own_tokens() -> None:
    change = moved_from_base(make_round(result=Result(perplexity=3.0, base_perplexity=6.0)))
    assert change is not None and change.percent_text == "-50.0 %"
    assert moved_from_base(make_round(result=Result(perplexity=3.0))) is None

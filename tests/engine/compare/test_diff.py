"""Comparability, differences and movements of rounds."""

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
from engine.compare.diff import compared_fields, difference
from engine.compare.leaders import Leaders, best_rounds, find_leaders
from engine.compare.verdict import movement
from engine.spec.round import Result, Round, Status
from tests.support.rounds import make_round, make_spec


def test_best_is_the_earliest_of_the_lowest() -> None:
    measured = [(4, 3.0), (2, 3.0), (3, 3.5), (1, None)]
    assert best_rounds([make_round(n, result=Result(perplexity=value)) for n, value in measured]) == {2}


@pytest.mark.parametrize(
    "setting",
    [{"model__path": "other"}, {"data__path": "other"}, {"data__seed": 1}, {"data__supervised_tokens": "all"}],
)
def test_best_is_among_comparable_rounds(setting: dict[str, object]) -> None:
    rounds = [make_round(1), make_round(2, result=Result(perplexity=3.0))]
    apart = make_round(3, spec=make_spec(**setting), result=Result(perplexity=1.5))
    beside = make_round(4, spec=make_spec(**setting), result=Result(perplexity=1.6))
    assert best_rounds([*rounds, apart]) == {2}
    assert best_rounds([*rounds, apart, beside]) == {2, 3}
    assert best_rounds([apart]) == best_rounds([make_round(5, Status.QUEUED)]) == frozenset()


def test_difference_lists_fields_then_results() -> None:
    first = make_round(1, result=Result(perplexity=4.79, eval_loss=1.5667))
    other = make_spec(lora__r=16, data__samples=None)
    second = make_round(2, spec=other, result=Result(perplexity=3.16, train_seconds=534.0))
    assert difference(first, second) == [
        ("data.samples", "100", "all"),
        ("lora.r", "8", "16"),
        ("eval_loss", "1.5667", "unknown"),
        ("perplexity", "4.79", "3.16"),
        ("train_seconds", "unknown", "8m54s"),
    ]
    assert difference(make_round(1, Status.HELD), make_round(2, Status.HELD)) == []


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (4.79, 3.16, "perplexity fell: 4.79 -> 3.16 (-34.0 %)"),
        (2.0, 3.0, "perplexity rose: 2.00 -> 3.00 (+50.0 %)"),
        (2.0, 2.0, "perplexity stayed: 2.00 -> 2.00 (+0.0 %)"),
        (None, 2.0, "round 1 has no perplexity to compare"),
        (2.0, None, "round 2 has no perplexity to compare"),
        (None, None, "round 1 has no perplexity to compare"),
    ],
)
def test_movement_is_one_sentence(before: float | None, after: float | None, sentence: str) -> None:
    first, second = (make_round(n, result=Result(perplexity=value)) for n, value in [(1, before), (2, after)])
    assert movement(first, second) == sentence


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
    assert movement(first, second) == f"perplexity was measured on other held-out tokens: {why}"


def of_rows(number: int, rows: str | None, perplexity: float = 3.0, **settings: object) -> Round:
    """A round that says which rows it was measured on."""
    return make_round(number, spec=make_spec(**settings), result=Result(perplexity=perplexity, held_out_rows=rows))


def test_rows_that_rounds_say_they_were_measured_on_decide() -> None:
    """Whatever the specs say: another base model may have the same tokenizer, and a data file may change."""
    first, same, other = of_rows(1, "a"), of_rows(2, "a", model__path="larger"), of_rows(3, "b")
    assert are_comparable(first, same) and why_incomparable(first, same) == ""
    assert not are_comparable(first, other)
    assert why_incomparable(first, other) == (
        "other examples or another tokenizer (the files of data.path or model.path have changed in between)"
    )
    groups = held_out_groups([first, same, other])
    assert groups[1] == groups[2] != groups[3]


def test_round_that_does_not_say_its_rows_goes_by_its_spec() -> None:
    silent, named, elsewhere = of_rows(1, None), of_rows(2, "a"), of_rows(3, None, data__seed=1)
    assert are_comparable(silent, named) and not are_comparable(silent, elsewhere)
    groups = held_out_groups([silent, named, elsewhere])
    assert groups[1] == groups[2] != groups[3]
    groups = held_out_groups([silent, named, of_rows(4, "b")])
    assert len(set(groups.values())) == 3, "of two sets of rows it is not known which they were"


def test_all_that_differs_is_named() -> None:
    spec = make_spec(data__seed=1, data__samples=50, data__prompt_template="{prompt}", lora__r=2)
    others = [make_round(2, spec=spec), make_round(3, spec=spec), make_round(5, Status.QUEUED, spec=spec)]
    rounds = [of_rows(1, None), *others, of_rows(4, None, data__seed=1)]
    assert incomparable_reasons(rounds, rounds[0]) == [
        "rounds 2 and 3 were measured on other held-out tokens than round 1: another prompt template "
        "(data.prompt_template) and other examples (data.samples, data.seed)",
        "round 4 was measured on other held-out tokens than round 1: other examples (data.seed)",
    ]


def test_those_that_do_not_compare_with_most_stand_apart() -> None:
    rounds = [of_rows(1, "a"), of_rows(2, "b", 2.0), of_rows(3, "b", 4.0), make_round(4, Status.QUEUED)]
    leaders = find_leaders(rounds, "perplexity")
    assert leaders == Leaders(best=frozenset({2}), incomparable=frozenset({1}), reference=2)
    assert find_leaders(rounds[:2], "perplexity").incomparable == {2}, (
        "of equally many the earliest are those held against"
    )
    assert (
        find_leaders(rounds, "train_seconds").incomparable == find_leaders(rounds, "note").incomparable == frozenset()
    )


def test_best_answers_are_those_that_score_highest_on_the_same_prompts() -> None:
    def answered(number: int, bleu: float, rows: str = "a", **settings: object) -> Round:
        result = Result(perplexity=3.0, generation={"bleu": bleu}, held_out_rows=rows)
        return make_round(number, spec=make_spec(**{"generation__examples": 8, **settings}), result=result)

    rounds = [
        answered(1, 20.0), answered(2, 30.0), answered(3, 90.0, rows="b"), answered(4, 80.0, generation__examples=4),
        answered(5, 70.0, generation__max_new_tokens=1), make_round(6),
    ]  # fmt: skip
    leaders = find_leaders(rounds, "bleu")
    assert leaders == Leaders(best=frozenset({2}), incomparable=frozenset({3, 4, 5}), reference=1)
    assert best_rounds(rounds[2:], "bleu") == frozenset(), "nothing compares with any of them"


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


def test_perplexity_that_is_no_number_is_said_to_be_so() -> None:
    lost = make_round(2, Status.FAILED, result=Result(nonfinite={"perplexity": "inf"}))
    assert movement(make_round(1), lost) == "the perplexity of round 2 is infinite"


def test_fields_side_by_side_tell_what_differs_and_what_is_best() -> None:
    rounds = [
        make_round(1, result=Result(eval_loss=1.5, perplexity=4.5, base_perplexity=6.0)),
        make_round(2, spec=make_spec(lora__r=16), result=Result(eval_loss=1.2, perplexity=3.3, base_perplexity=6.0)),
        make_round(3, Status.QUEUED, spec=make_spec(data__samples=None)),
    ]
    fields = {field.key: field for field in compared_fields(rounds)}
    assert {key for key, field in fields.items() if field.differs and "." in key} == {"data.samples", "lora.r"}
    assert fields["lora.r"].texts == ("8", "16", "8")
    assert fields["data.samples"].texts == ("100", "100", "all")
    assert fields["perplexity"].texts == ("4.50", "3.30", "")
    assert fields["perplexity"].best == {1}
    assert fields["against_base"].texts == ("-25.0 %", "-45.0 %", "")
    assert "note" not in fields

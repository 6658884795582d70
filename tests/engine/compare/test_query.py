from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compare.query import filter_rounds, group_rounds, sort_rounds
from engine.errors import SpecError
from engine.files.paths import Workspace
from engine.spec.round import Result, Round, Status, Trial
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round, make_spec

ROUNDS = [
    make_round(1, name="base", note="Some Oscillation", result=Result(perplexity=4.79)),
    make_round(2, name="wide", spec=make_spec(lora__r=16), result=Result(perplexity=3.16)),
    make_round(3, Status.FAILED, name="Wide2", spec=make_spec(lora__r=16, train__learning_rate=1e-3), message="no GPU"),
    make_round(4, Status.QUEUED, name="last", spec=make_spec(data__path="other.jsonl", data__samples=10)),
]


def numbers(rounds: list[Round]) -> list[int]:
    return [round_.number for round_ in rounds]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("  ", [1, 2, 3, 4]),
        ("ppl<4", [2]),
        ("ppl<=4.79", [1, 2]),
        ("ppl>4", [1]),
        ("ppl>=3.16", [1, 2]),
        ("ppl!=3.16", [1]),
        ("r=16", [2, 3]),
        ("r:16", [2, 3]),
        ("r=16 lr<1e-3", [2]),
        ("lr>=1e-3", [3]),
        ("#=4", [4]),
        ("number>2 status:ed", [3, 4]),
        ("status=failed", [3]),
        ("status:FAIL", [3]),
        ("status!=finished", [3, 4]),
        ("name=wide", [2]),
        ("name:wide", [2, 3]),
        ("oscillation", [1]),
        ("OSCILL", [1]),
        ("gpu", [3]),
        ("other.jsonl", [4]),
        ("data.path:other", [4]),
        ("nowhere", []),
        ("name=", []),
        ("note=", [2, 3, 4]),
        ("ppl<nan", []),
        ("ppl<inf", [1, 2]),
    ],
)
def test_filter_keeps_the_rounds_that_meet_every_term(expression: str, expected: list[int]) -> None:
    assert numbers(filter_rounds(ROUNDS, expression)) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("number", [1, 2, 3, 4]),
        ("-number", [4, 3, 2, 1]),
        ("ppl", [2, 1, 3, 4]),
        ("-ppl", [1, 2, 3, 4]),
        ("name", [1, 4, 2, 3]),
        ("-name", [3, 2, 4, 1]),
        ("r", [1, 4, 2, 3]),
        ("-r", [2, 3, 1, 4]),
        ("status", [3, 1, 2, 4]),
    ],
)
def test_sort_orders_with_the_unknown_last(key: str, expected: list[int]) -> None:
    assert numbers(sort_rounds(ROUNDS, key)) == expected


@pytest.mark.parametrize("key", ["", "-", "pplx", "--ppl"])
def test_sort_by_an_unknown_column_is_refused(key: str) -> None:
    with pytest.raises(SpecError, match="no column"):
        sort_rounds(ROUNDS, key)


@given(st.text())
def test_any_expression_filters_or_is_refused(expression: str) -> None:
    try:
        matching = filter_rounds(ROUNDS, expression)
    except SpecError as error:
        assert error.message
    else:
        assert [round_ for round_ in ROUNDS if round_ in matching] == matching


def test_equals_asks_for_one_of_the_words_of_a_list() -> None:
    rounds = [make_round(1, tags=("fast", "T4")), make_round(2, tags=("faster",)), make_round(3)]
    assert numbers(filter_rounds(rounds, "tag=t4")) == [1]
    assert numbers(filter_rounds(rounds, "tag:fast")) == [1, 2]
    assert numbers(filter_rounds(rounds, "tag!=fast")) == [2, 3]
    assert numbers(filter_rounds(rounds, "T4")) == [1]
    assert numbers(filter_rounds(rounds, "target_modules=q_proj")) == [1, 2, 3]
    assert numbers(sort_rounds(rounds, "-tags")) == [2, 1, 3]


def test_trials_are_filtered_sorted_and_grouped_by_their_sweep() -> None:
    places = {2: (1, 10), 3: (1, 2), 4: (2, 1)}
    rounds = [make_round(1)] + [
        make_round(number, trial=Trial(sweep=sweep, setting=setting, point={"lora.r": "8"}))
        for number, (sweep, setting) in places.items()
    ]
    assert numbers(filter_rounds(rounds, "sweep=1")) == [2, 3]
    assert numbers(filter_rounds(rounds, "sweep=1 setting>=3")) == [2]
    assert numbers(filter_rounds(rounds, "-sweep>0")) == [1]
    assert numbers(sort_rounds(rounds, "setting")) == [4, 3, 2, 1]
    assert [(group.text, numbers([*group.rounds])) for group in group_rounds(rounds, "sweep")] == [
        ("1", [2, 3]), ("2", [4]), ("", [1]),
    ]  # fmt: skip


def test_groups_come_in_the_order_of_the_column_with_their_best() -> None:
    rounds = [
        make_round(1, spec=make_spec(lora__r=16), result=Result(perplexity=3.0)),
        make_round(2, spec=make_spec(lora__r=8), result=Result(perplexity=4.0)),
        make_round(3, spec=make_spec(lora__r=16), result=Result(perplexity=2.5)),
        make_round(4, spec=make_spec(lora__r=8, data__seed=1), result=Result(perplexity=2.0)),
        make_round(5, Status.QUEUED, spec=make_spec(lora__r=32)),
    ]
    groups = group_rounds(sort_rounds(rounds, "-number"), "r")
    assert [(group.text, numbers(list(group.rounds))) for group in groups] == [
        ("8", [4, 2]),
        ("16", [3, 1]),
        ("32", [5]),
    ]
    assert [group.heading("r") for group in groups] == [
        "r 8 · 2 rounds · ≁ measured on different held-out tokens",
        "r 16 · 2 rounds · best perplexity 2.50 (round 3)",
        "r 32 · 1 round",
    ]
    assert [group.text for group in group_rounds(rounds, "ppl")] == ["2.00", "2.50", "3.00", "4.00", ""]


def test_group_of_seeds_tells_how_far_chance_moves_it() -> None:
    """The deviation of 3.0, 3.2 and 3.1 is 0.1; that of 3.000, 3.004 and 3.002 is 0.002."""

    def seeded(number: int, seed: int, perplexity: float, **settings: object) -> Round:
        spec = make_spec(train__seed=seed, **settings)
        return make_round(number, spec=spec, result=Result(perplexity=perplexity))

    rounds = [
        *(seeded(number, number, value, lora__r=8) for number, value in ((1, 3.0), (2, 3.2), (3, 3.1))),
        *(seeded(number, number, value, lora__r=16) for number, value in ((4, 3.0), (5, 3.004), (6, 3.002))),
        make_round(7, Status.QUEUED, spec=make_spec(train__seed=7, lora__r=16)),
        seeded(8, 1, 3.0, lora__r=32), seeded(9, 2, 3.0, lora__r=32, train__learning_rate=1e-3),
        seeded(10, 1, 3.0, lora__r=64), seeded(11, 1, 3.0, lora__r=64),
    ]  # fmt: skip
    assert [group.heading("r") for group in group_rounds(rounds, "r")] == [
        "r 8 · 3 rounds · perplexity 3.10 ± 0.10 over 3 seeds · best perplexity 3.00 (round 1)",
        "r 16 · 4 rounds · perplexity 3.0020 ± 0.0020 over 3 seeds · best perplexity 3.00 (round 4)",
        "r 32 · 2 rounds · best perplexity 3.00 (round 8)",
        "r 64 · 2 rounds · best perplexity 3.00 (round 10)",
    ]


def test_reference_rounds_are_ordered_by_perplexity(reference_workspace: Workspace) -> None:
    rounds = sort_rounds(RoundStore(reference_workspace).rounds(), "ppl")
    perplexities = [round_.result.perplexity for round_ in rounds]
    assert perplexities == sorted(filter(None, perplexities))
    assert sorted(numbers(rounds)) == [1, 2, 3, 4, 5]
    assert {round_.status for round_ in rounds} == {Status.IMPORTED}

"""The best rounds of a column, and the incomparable ones."""

from __future__ import annotations

import pytest

from engine.compare.leaders import Leaders, best_rounds, find_leaders
from engine.spec.round import Result, Round, Status
from tests.support.rounds import make_round, make_spec, measured_on


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


def test_those_that_do_not_compare_with_most_stand_apart() -> None:
    rounds = [measured_on(1, "a"), measured_on(2, "b", 2.0), measured_on(3, "b", 4.0), make_round(4, Status.QUEUED)]
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

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compare.filter_language import DEEPEST, FilterError, read_filter
from engine.compare.query import by_number, filter_rounds, why_none
from engine.spec.round import Result, Round, Status
from tests.support.rounds import make_round, make_spec

ROUNDS = [
    make_round(1, name="base", note="no GPU here", tags=("best", "fast"), result=Result(perplexity=4.79)),
    make_round(2, name="wide", spec=make_spec(lora__r=16), tags=("best",), result=Result(perplexity=3.16)),
    make_round(3, Status.FAILED, name="wide two", spec=make_spec(lora__r=16), message="GPU lost"),
    make_round(4, Status.QUEUED, name="f(x)", note="R&D or not, a-b"),
]
ALL = [1, 2, 3, 4]


def numbers(expression: str, rounds: list[Round] = ROUNDS) -> list[int]:
    return [round_.number for round_ in filter_rounds(rounds, expression)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ppl < 4", [2]),
        ("ppl <4", [2]),
        ("ppl< 4", [2]),
        ("ppl\t>=  3.16   r = 16", [2]),
        ("ppl ≤ 3.16", [2]),
        ("r≥16", [2, 3]),
        ("r == 16", [2, 3]),
        ("r ≠ 16", [1, 4]),
        ("status : fail", [3]),
        ("tag != best", [3, 4]),
        ("tag=best or status=failed", [1, 2, 3]),
        ("tag=best OR status=failed", [1, 2, 3]),
        ("tag=best | status=failed", [1, 2, 3]),
        ("tag=best||status=failed", [1, 2, 3]),
        ("r=16 tag=best or queued", [2, 4]),  # a sequence binds closer than "or"
        ("r=16 and tag=best or queued", [2, 4]),
        ("r=16 AND (tag=best or failed)", [2, 3]),
        ("r=16 & tag=best", [2]),
        ("!tag=best", [3, 4]),
        ("! tag=best", [3, 4]),
        ("-tag:best", [3, 4]),
        ("not tag=best", [3, 4]),
        ("NOT ppl < 4", [1, 3, 4]),  # also those without a perplexity
        ("not not tag=best", [1, 2]),
        ("r=16 not tag=best", [3]),
        ("-wide", [1, 4]),
        ("not (r=16 or queued)", [1]),
        ('"no gpu"', [1]),
        ("'no gpu'", [1]),
        ("no gpu", [1]),
        ("note:'gpu here'", [1]),
        ('name = "wide two"', [3]),
        ('-"no gpu" gpu', [3]),
        ('note=""', [2, 3]),
        ("note= r=16", [2, 3]),  # nothing between = and the next comparison
        ("note= or r=16", [2, 3]),
        ("f(x)", [4]),
        ("(f(x))", [4]),
        ("r&d", [4]),
        ("a-b", [4]),
        ('"or"', [4]),
        ("x/y=1", []),
        ("- tag=best", []),  # a word of one sign
    ],
)
def test_filters_that_people_try(expression: str, expected: list[int]) -> None:
    assert numbers(expression) == expected


@pytest.mark.parametrize(
    ("expression", "message", "readable"),
    [
        ("r=16 ppl <", "ppl<: '' is not a number, as in ppl<3", "r=16"),
        ("r=16 ppl < low", "ppl<low: 'low' is not a number", "r=16"),
        ("wide tag<b", "'tag<b': tags is not a number: use =, != or :", "wide"),
        ("wide <3", "there is no column 'wide'", ""),
        ("r=16 seed=42", "data.seed or train.seed", "r=16"),
        ("r=16 pplx<3", "no column 'pplx': do you mean ppl", "r=16"),
        ("r=16 eval-loss<3", "do you mean eval_loss", "r=16"),
        ("r=16 <3", "a column must stand before '<', as in ppl<3.3", "r=16"),
        ("r=16 or", "a part of the filter must follow 'or'", "r=16"),
        ("r=16 |", "a part of the filter must follow '|'", "r=16"),
        ("r=16 and", "a part of the filter must follow 'and'", "r=16"),
        ("r=16 and or tag=best", "a part of the filter must", "r=16"),
        ("or r=16", "a part of the filter must stand before 'or'", ""),
        ("and r=16", "a part of the filter must stand before and behind 'and'", ""),
        ("r=16 not", "a part of the filter must stand before and behind 'not'", "r=16"),
        ("r=16 !", "a part of the filter must stand before and behind '!'", "r=16"),
        ("r=16 (ppl<3", r"'\(' has no '\)'", "r=16"),
        ("r=16 ()", r"a part of the filter must follow '\('", "r=16"),
        ("r=16 ppl<4)", "has a bracket too many", "r=16 ppl<4"),
        ('r=16 "no gpu', "has no end: close it with", "r=16"),
        ('r=16 note:"no gpu', "has no end: close it with", "r=16 note:"),
        ("tag=best|fast", r"'fast' has no column: write tag=best \| tag=fast", ""),
        ("(" * (DEEPEST + 1), "levels of brackets", "(" * DEEPEST),
        ("http://a.b", "no column 'http'.*quotes", ""),
    ],
)
def test_what_is_not_understood_is_named(expression: str, message: str, readable: str) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        read_filter(expression, {})
    assert expression[: caught.value.readable].strip() == readable


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("gpux", "no round has gpux"),
        ("wide gpux 'no more'", "no round has gpux or 'no more'"),
        ("status = done", "no round has status = done"),
        ("ppl", "no round has ppl (ppl is a column: write ppl=… to compare it)"),
        ("failed tag=best", "no round meets all parts of the filter"),
        ("not r<99 gpux", "no round has gpux"),
    ],
)
def test_filter_that_nothing_meets_says_what_no_round_has(expression: str, sentence: str) -> None:
    assert numbers(expression) == []
    assert why_none(expression, by_number(ROUNDS)) == sentence


PARTS = {
    "r=16": [2, 3],
    "ppl < 4": [2],
    "tag = best": [1, 2],
    "'no gpu'": [1],
    "status:ue": [4],
    "gpux": [],
}  # fmt: skip


@st.composite
def combined(draw: st.DrawFn, depth: int = 3) -> tuple[str, frozenset[int]]:
    """Draw a filter, and by set arithmetic the numbers of the rounds that meet it."""
    if depth == 0 or draw(st.booleans()):
        text = draw(st.sampled_from(sorted(PARTS)))
        return text, frozenset(PARTS[text])
    kind = draw(st.sampled_from(["not", "and", "or"]))
    text, met = draw(combined(depth - 1))
    if kind == "not":
        return f"{draw(st.sampled_from(['not ', 'NOT ', '! ', '!', '-']))}({text})", frozenset(ALL) - met
    other_text, other_met = draw(combined(depth - 1))
    if kind == "and":
        return f"({text}){draw(st.sampled_from([' ', '', ' and ', ' & ']))}({other_text})", met & other_met
    return f"({text}){draw(st.sampled_from([' or ', '|', ' || ', ' OR ']))}({other_text})", met | other_met


@given(combined())
def test_parts_combine_as_sets_do(drawn: tuple[str, frozenset[int]]) -> None:
    expression, met = drawn
    assert numbers(expression) == sorted(met)


@given(st.text(alphabet="ab r=16<>!|&()\"'-#:or not", max_size=25))
def test_readable_beginning_of_a_refused_filter_can_be_read(expression: str) -> None:
    try:
        read_filter(expression, {})
    except FilterError as error:
        assert 0 <= error.readable <= len(expression)
        assert error.message

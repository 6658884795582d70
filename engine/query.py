"""Choose and order rounds: `ppl<3.3 r=16 lr>=1e-4 status:failed oscillation`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from engine.columns import Column, find_column
from engine.errors import SpecError
from engine.rounds import Round

TERM = re.compile(r"^([\w.#]+)(<=|>=|!=|<|>|=|:)(.*)$")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
    ":": operator.eq,
}
SEARCHED = ("name", "status", "note", "message", "model.path", "data.path")


def filter_rounds(rounds: Iterable[Round], expression: str) -> list[Round]:
    """The rounds that meet every term: `column<op>value` compares, `column:text` contains, a bare word is searched for.

    A round that lacks a value meets no comparison of it.

    Raises:
        SpecError: an unknown column, or a number expected and not given.
    """
    tests = [_test(term) for term in expression.split()]
    return [round_ for round_ in rounds if all(test(round_) for test in tests)]


def _test(term: str) -> Callable[[Round], bool]:
    match = TERM.match(term)
    if match is None:
        word = term.casefold()
        return lambda round_: any(word in find_column(key).text(round_).casefold() for key in SEARCHED)
    name, sign, text = match.groups()
    column = find_column(name)
    if column.numeric:
        return _compare_numbers(column, sign, text)
    wanted = text.casefold()
    if sign == ":":
        return lambda round_: wanted in column.text(round_).casefold()
    if sign not in ("=", "!="):
        raise SpecError(f"{term!r}: {column.key} is no number, use =, != or :")
    return lambda round_: COMPARE[sign](column.text(round_).casefold(), wanted)


def _compare_numbers(column: Column, sign: str, text: str) -> Callable[[Round], bool]:
    try:
        bound = float(text)
    except ValueError:
        raise SpecError(f"{column.key}{sign}{text}: {text!r} is no number") from None

    def test(round_: Round) -> bool:
        value = column.value(round_)
        return value is not None and COMPARE[sign](value, bound)

    return test


def sort_rounds(rounds: Iterable[Round], key: str) -> list[Round]:
    """By a column, `-column` for the largest first; rounds without a value come last either way.

    Raises:
        SpecError: an unknown column.
    """
    column = find_column(key.removeprefix("-"))
    listed = list(rounds)
    known = [round_ for round_ in listed if column.value(round_) is not None]
    unknown = [round_ for round_ in listed if column.value(round_) is None]

    def order(round_: Round) -> Any:
        return column.value(round_) if column.numeric else column.text(round_).casefold()

    return sorted(known, key=order, reverse=key.startswith("-")) + unknown

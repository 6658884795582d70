"""Read a filter: `ppl < 3.3 r=16`, `status:failed or tag=best`, `not "no gpu"`.

filter     = all ("or" all)*                 also written OR and |
all        = one ("and"? one)*
one        = ("not" | "!" | "-")* (comparison | text | "(" filter ")")
comparison = column sign value               spaces around the sign do not matter
text       = a word, or anything between " or '
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from engine.compare.columns import Column, Rounds, find_column
from engine.errors import SpecError
from engine.spec.round import Round

SIGN = r"<=|>=|!=|==|<|>|=|:|≤|≥|≠"
COMPARISON = re.compile(rf"([\w.#][\w.#-]*)\s*({SIGN})")
STRAY_SIGN = re.compile(SIGN)
WORD = re.compile(r"(?:[^\s()|]|\([^\s()|]*\))+")  # with brackets inside it, such as `f(x)`
QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'")
ALTERNATIVE = re.compile(r"\|\|?([\w.#][^\s()|]*)")
SPACES = re.compile(r"\s*")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
    ":": operator.eq,
}
SAME_SIGN = {"==": "=", "≤": "<=", "≥": ">=", "≠": "!="}
AND = ("and", "&", "&&")
DEEPEST = 20  # brackets inside each other
Test = Callable[[Round], bool]


class FilterError(SpecError):
    """A filter that cannot be read; what stands before `readable` characters can be read by itself."""

    def __init__(self, message: str, readable: int) -> None:
        super().__init__(message)
        self.readable = readable


class Term(Struct, frozen=True):
    """A comparison or text that a filter asks for; `text` is how it was written, for people."""

    text: str
    test: Test


class Filter(Struct, frozen=True):
    """A filter that was read.

    Attributes:
        test: returns whether a round meets the whole filter.
        terms: its parts that ask for something; those behind `not` are left out.
    """

    test: Test
    terms: Sequence[Term]


def read_filter(expression: str, rounds: Rounds) -> Filter:
    """Read a filter; an empty one is met by every round.

    Args:
        rounds: all rounds by number, for columns that compare a round with others.

    Raises:
        FilterError: it cannot be read; says which part, and what is possible.
    """
    reader = _Reader(expression, rounds)
    test = reader.read_either() if reader.rest() else lambda _: True
    if reader.rest():
        raise FilterError(f"{reader.rest()!r} has a bracket too many: put a text with brackets into quotes", reader.at)
    return Filter(test, reader.terms)


class _Reader:
    """Reads a filter from left to right; `at` is the place of the next character."""

    def __init__(self, text: str, rounds: Rounds) -> None:
        self.text = text
        self.at = 0
        self.terms: list[Term] = []
        self._rounds = rounds
        self._depth = 0
        self._negated = False

    def rest(self) -> str:
        """Return what is not read yet, without spaces at its beginning."""
        self._take(SPACES)
        return self.text[self.at :]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if (match := pattern.match(self.text, self.at)) is not None:
            self.at = match.end()
        return match

    def _take_word(self, *words: str) -> bool:
        """Read one of `words`, in letters of any case, if it comes next and is not the column of a comparison."""
        self._take(SPACES)
        match = WORD.match(self.text, self.at)
        if match is None or match[0].casefold() not in words or COMPARISON.match(self.text, self.at):
            return False
        self.at = match.end()
        return True

    def _take_either(self) -> bool:
        if self._take_word("or"):
            return True
        if bars := self.rest().startswith("|"):
            self.at += 2 if self.text.startswith("||", self.at) else 1
        return bars

    def read_either(self) -> Test:
        tests = [self._read_all()]
        start = self.at
        while self._take_either():
            if not self.rest() or self.text[self.at] in "|)":
                raise FilterError(f"a part of the filter must follow {self.text[start : self.at].strip()!r}", start)
            tests.append(self._read_all())
            start = self.at
        return tests[0] if len(tests) == 1 else lambda round_: any(test(round_) for test in tests)

    def _read_all(self) -> Test:
        tests = [self._read_one()]
        while True:
            start = self.at
            both = self._take_word(*AND)
            if not self.rest() or self.text[self.at] in "|)" or self._or_follows():
                if both:
                    raise FilterError(f"a part of the filter must follow {self.text[start:].split()[0]!r}", start)
                return tests[0] if len(tests) == 1 else lambda round_: all(test(round_) for test in tests)
            tests.append(self._read_one())

    def _or_follows(self) -> bool:
        start = self.at
        follows = self._take_either()
        self.at = start
        return follows

    def _new_part_follows(self) -> bool:
        start = self.at
        follows = self._take_either() or self._take_word(*AND, "not") or self._take(COMPARISON) is not None
        self.at = start
        return follows

    def _read_one(self) -> Test:
        start, negated_before, negated = self.at, self._negated, False
        while self._take_not():
            negated = not negated
        self._negated ^= negated
        if not self.rest() or self._or_follows() or self._take_word(*AND):
            raise FilterError(_nothing_at(self.text, start, self.at), start)
        test = self._read_brackets(start) if self.text[self.at] == "(" else self._read_term(start)
        self._negated = negated_before
        return (lambda round_: not test(round_)) if negated else test

    def _take_not(self) -> bool:
        if self._take_word("not"):
            return True
        sign, after = self.rest()[:1], self.text[self.at + 1 : self.at + 2]
        negates = after != "=" if sign == "!" else sign == "-" and after not in ("", "-") and not after.isspace()
        self.at += negates
        return negates

    def _read_brackets(self, start: int) -> Test:
        self._depth += 1
        if self._depth > DEEPEST:
            raise FilterError(f"the filter has more than {DEEPEST} levels of brackets", start)
        self.at += 1
        if not self.rest() or self.text[self.at] == ")":
            raise FilterError("a part of the filter must follow '('", start)
        test = self.read_either()
        if self.rest()[:1] != ")":
            raise FilterError("'(' has no ')': close it, or put a text with brackets into quotes", start)
        self.at += 1
        self._depth -= 1
        return test

    def _read_term(self, start: int) -> Test:
        comparison = self._take(COMPARISON)
        if comparison is not None:
            name, sign = comparison.groups()
            test = self._read_comparison(name, SAME_SIGN.get(sign, sign), start)
        else:
            test = self._read_text(start)
        if not self._negated:
            self.terms.append(Term(self.text[start : self.at].strip(), test))
        return test

    def _read_comparison(self, name: str, sign: str, start: int) -> Test:
        try:
            column = find_column(name)
        except SpecError as error:
            raise FilterError(f"{error.message} (a text to look for can stand in quotes)", start) from None
        value = self._read_value()
        written = self.text[start : self.at].strip()
        other = ALTERNATIVE.match(self.text, self.at)
        if other is not None and not COMPARISON.match(self.text, other.start(1)):
            raise FilterError(f"{other[1]!r} has no column: write {written} | {name}{sign}{other[1]}", start)
        if column.numeric:
            return _compare_numbers(column, sign, _number(value, name, sign, start), self._rounds)
        word, rounds = value.casefold(), self._rounds
        if sign == ":":
            return lambda round_: word in column.text(round_, rounds).casefold()
        if sign not in ("=", "!="):
            raise FilterError(f"{written!r}: {column.key} is not a number: use =, != or :", start)
        return lambda round_: _is_word(word, column, round_, rounds) is (sign == "=")

    def _read_value(self) -> str:
        """Read what a column is compared with; it is empty if the filter ends, or another comparison follows."""
        end = self.at
        self._take(SPACES)
        if (quoted := self._read_quoted()) is not None:
            return quoted
        if self.at > end and self._new_part_follows():
            self.at = end
            return ""
        match = self._take(WORD)
        return match[0] if match is not None else ""

    def _read_quoted(self) -> str | None:
        """Read what stands between quotes; None if no quote comes next."""
        quote = self.text[self.at : self.at + 1]
        if not quote or quote not in "\"'":
            return None
        if (match := self._take(QUOTED)) is None:
            raise FilterError(f"the quote {self.text[self.at :]} has no end: close it with {quote}", self.at)
        return match[1] if match[1] is not None else match[2]

    def _read_text(self, start: int) -> Test:
        text = self._read_quoted()
        if text is None:
            if (sign := STRAY_SIGN.match(self.text, self.at)) is not None:
                raise FilterError(f"a column must stand before {sign[0]!r}, as in ppl{sign[0]}3.3", start)
            match = self._take(WORD)
            if match is None:
                raise FilterError(_nothing_at(self.text, start, self.at), start)
            text = match[0]
        word = text.casefold()
        return lambda round_: word in _searched(round_)


def _nothing_at(text: str, start: int, at: int) -> str:
    """Return the sentence for a place where a part of the filter is missing."""
    if before := text[start:at].strip():
        return f"a part of the filter must stand before and behind {before!r}; a text to look for can stand in quotes"
    return f"a part of the filter must stand before {text[at:].split()[0]!r}; a text to look for can stand in quotes"


def _number(text: str, name: str, sign: str, start: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise FilterError(f"{name}{sign}{text}: {text!r} is not a number, as in {name}{sign}3", start) from None


def _compare_numbers(column: Column, sign: str, bound: float, rounds: Rounds) -> Test:
    compare = COMPARE[sign]

    def test(round_: Round) -> bool:
        value = column.value(round_, rounds)
        return value is not None and compare(value, bound)

    return test


def _is_word(word: str, column: Column, round_: Round, rounds: Rounds) -> bool:
    """Return True if `word` is the whole text of a column, or a word of a list."""
    if column.text(round_, rounds).casefold() == word:
        return True
    value = column.value(round_, rounds)
    return isinstance(value, tuple) and word in map(str.casefold, value)


def _searched(round_: Round) -> str:
    """Return all text of a round that a word is looked for in."""
    spec = round_.spec
    texts = (round_.name, round_.status, *round_.tags, round_.note, round_.message, spec.model.path, spec.data.path)
    return "\n".join(texts).casefold()

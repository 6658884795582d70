"""Choose, order and group rounds."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

from msgspec import Struct

from engine.compare.columns import Rounds, find_column, is_column
from engine.compare.comparability import INCOMPARABLE, held_out_groups
from engine.compare.filter_language import read_filter
from engine.compare.seed_groups import SeedGroup, seeds_alone
from engine.spec.round import Round
from engine.text.humanize import format_perplexity
from engine.text.sanitize import clean_line


def filter_rounds(rounds: Iterable[Round], expression: str, all_rounds: Rounds | None = None) -> list[Round]:
    """Return the rounds that meet a filter, as `engine.compare.filter_language` reads it.

    A round that lacks a value meets no comparison of it. For a list, such as the tags, `=` means one of its words.

    Args:
        all_rounds: all rounds by number, for columns that compare a round with others; `rounds` if None.

    Raises:
        FilterError: the filter cannot be read.
    """
    rounds = list(rounds)
    return list(filter(read_filter(expression, by_number(rounds) if all_rounds is None else all_rounds).test, rounds))


def why_none(expression: str, rounds: Rounds) -> str:
    """Return a sentence on why no round meets a filter that can be read: what it asks for that none of `rounds` has."""
    read = read_filter(expression, rounds)
    absent = [term.text for term in read.terms if term.test is read.test or not any(map(term.test, rounds.values()))]
    if not absent:
        return "no round meets all parts of the filter"
    columns_alone = [text for text in absent if is_column(text)]
    advice = f" ({columns_alone[0]} is a column: write {columns_alone[0]}=… to compare it)" if columns_alone else ""
    return f"no round has {' or '.join(absent)}{advice}"


def by_number(rounds: Iterable[Round]) -> Rounds:
    return {round_.number: round_ for round_ in rounds}


def sort_rounds(rounds: Iterable[Round], key: str, all_rounds: Rounds | None = None) -> list[Round]:
    """Sort by a column, `-column` for the largest first; rounds without a value come last either way.

    Args:
        all_rounds: as for `filter_rounds`.

    Raises:
        SpecError: the column is unknown.
    """
    column = find_column(key.removeprefix("-"))
    rounds = list(rounds)
    others = by_number(rounds) if all_rounds is None else all_rounds
    values = [(column.value(round_, others), round_) for round_ in rounds]
    ordered = [(value, round_) for value, round_ in values if value is not None]
    if not column.numeric:
        ordered = [(column.text(round_, others).casefold(), round_) for _, round_ in ordered]
    ordered.sort(key=operator.itemgetter(0), reverse=key.startswith("-"))
    return [round_ for _, round_ in ordered] + [round_ for value, round_ in values if value is None]


class Group(Struct, frozen=True):
    """Rounds that are equal in a column; `text` is their common value for people ("" where it is unknown).

    Attributes:
        best: the one with the lowest perplexity; None if none has any, or they were measured on different tokens.
        mixed: whether they were measured on different held-out tokens.
        seeds: the spread of their perplexity, if they differ in nothing but the seed.
    """

    text: str
    rounds: Sequence[Round]
    best: Round | None
    mixed: bool = False
    seeds: SeedGroup | None = None

    @property
    def counted(self) -> str:
        return f"{len(self.rounds)} round{'s' * (len(self.rounds) != 1)}"

    def heading(self, title: str) -> str:
        """Write `lr 2e-4 · 3 rounds · best perplexity 3.16 (round 2)`; `title` is the name of the column."""
        parts = [f"{title} {clean_line(self.text) or '–'}", self.counted]
        if self.seeds is not None:
            parts.append(f"perplexity {self.seeds.text} over {self.seeds.seeds} seeds")
        if self.best is not None:
            parts.append(f"best perplexity {format_perplexity(self.best.result.perplexity)} (round {self.best.number})")
        if self.mixed:
            parts.append(f"{INCOMPARABLE} measured on different held-out tokens")
        return " · ".join(parts)


def group_rounds(rounds: Iterable[Round], key: str, all_rounds: Rounds | None = None) -> list[Group]:
    """Group the rounds by a column, in the order of its values; each group keeps the order of `rounds`.

    Args:
        all_rounds: as for `filter_rounds`.

    Raises:
        SpecError: the column is unknown.
    """
    column = find_column(key)
    rounds = list(rounds)
    others = by_number(rounds) if all_rounds is None else all_rounds
    members: dict[str, list[Round]] = {}
    text_by_value: dict[object, str] = {}  # a value that is known reads the same in all rounds
    for round_ in rounds:
        value = column.value(round_, others)
        text = text_by_value[value] if value in text_by_value else column.text(round_, others)
        if value is not None:
            text_by_value[value] = text
        members.setdefault(text, []).append(round_)
    heads = sort_rounds([group[0] for group in members.values()], key, others)
    texts = [column.text(head, others) for head in heads]
    return [_group(text, members[text]) for text in texts]


def _group(text: str, rounds: Sequence[Round]) -> Group:
    measured = [(round_.result.perplexity, round_) for round_ in rounds if round_.result.perplexity is not None]
    kinds = len(set(held_out_groups(round_ for _, round_ in measured).values()))
    best = min(measured, key=operator.itemgetter(0))[1] if kinds == 1 else None
    return Group(text, rounds, best, kinds > 1, seeds_alone(rounds))

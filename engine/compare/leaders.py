"""Where rounds stand in a column: which did best, and which are not to be held against the others."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from msgspec import Struct

from engine.compare.columns import TEXT_SCORES, columns
from engine.compare.comparability import are_comparable, held_out_groups
from engine.spec.round import Round

OF_TOKENS = frozenset({"eval_loss", "perplexity", *TEXT_SCORES})  # that mean nothing beside those of other tokens


class Standing(Struct, frozen=True):
    """Where rounds stand in a column, by number.

    Attributes:
        best: the best of each set of rounds that compare, the earliest of equals; a round that nothing compares with is
            not the best of anything.
        apart: those that do not compare with most.
        most: the first of those that most compare with, the earliest of equally many; None if none was measured.
    """

    best: frozenset[int] = frozenset()
    apart: frozenset[int] = frozenset()
    most: int | None = None


def standing(rounds: Iterable[Round], key: str, tokens: Mapping[int, Hashable] | None = None) -> Standing:
    """Where `rounds` stand in the column `key`; nowhere in one that has no best.

    Rounds in time or memory that came to no loss are not among them.

    Args:
        tokens: `held_out_groups` of the rounds, if that is known.
    """
    column = columns()[key]
    if column.best is None:
        return Standing()
    known = list(rounds)
    tokens = held_out_groups(known) if tokens is None else tokens
    groups: dict[Hashable, list[tuple[float, int]]] = {}
    sign = 1 if column.best == "lowest" else -1
    for round_ in known:
        value = column.value(round_) if _has_loss(round_) else None
        if value is not None:
            asked = round_.spec.generation if key in TEXT_SCORES else None  # which prompts, and how long an answer
            groups.setdefault((tokens[round_.number], asked), []).append((sign * value, round_.number))
    best = frozenset(min(group)[1] for group in groups.values() if len(group) > 1)
    members = [[number for _, number in group] for group in groups.values()]
    most = max(members, key=lambda numbers: (len(numbers), -min(numbers)), default=[])
    others = frozenset(number for numbers in members if numbers is not most for number in numbers)
    return Standing(best, others if key in OF_TOKENS else frozenset(), min(most, default=None))


def compare_in(first: Round, second: Round, key: str) -> bool:
    """Whether what the two have in the column `key` may be held against each other."""
    if key not in OF_TOKENS:
        return True
    asked_alike = key not in TEXT_SCORES or first.spec.generation == second.spec.generation
    return are_comparable(first, second) and asked_alike


def _has_loss(round_: Round) -> bool:
    return round_.result.perplexity is not None or round_.result.eval_loss is not None


def best_rounds(rounds: Iterable[Round], key: str = "perplexity") -> frozenset[int]:
    """Numbers of the best of each set of rounds that compare."""
    return standing(rounds, key).best

"""The best rounds of a column, and the rounds whose values cannot be compared with the others."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from msgspec import Struct

from engine.compare.columns import TEXT_SCORES, columns
from engine.compare.comparability import are_comparable, held_out_groups
from engine.spec.round import Round

OF_TOKENS = frozenset({"eval_loss", "perplexity", *TEXT_SCORES})  # comparable over the same held-out tokens only


class Leaders(Struct, frozen=True):
    """The best rounds of a column and the incomparable ones, by number.

    Attributes:
        best: the best of each group of comparable rounds, the earliest of equals. A group of one has no best.
        incomparable: rounds outside the largest group.
        reference: the first round of the largest group, the earliest of equally large ones; None if none was measured.
    """

    best: frozenset[int] = frozenset()
    incomparable: frozenset[int] = frozenset()
    reference: int | None = None


def find_leaders(rounds: Iterable[Round], key: str, tokens: Mapping[int, Hashable] | None = None) -> Leaders:
    """Find the best and the incomparable of `rounds` in the column `key`; empty for a column that has no best.

    Rounds without a measured loss are left out, in columns of time and memory too.

    Args:
        tokens: `held_out_groups` of the rounds, where the caller has it already.
    """
    column = columns()[key]
    if column.best is None:
        return Leaders()
    rounds = list(rounds)
    tokens = held_out_groups(rounds) if tokens is None else tokens
    groups: dict[Hashable, list[tuple[float, int]]] = {}
    sign = 1 if column.best == "lowest" else -1
    for round_ in rounds:
        value = column.value(round_) if _has_loss(round_) else None
        if value is not None:
            generation = round_.spec.generation if key in TEXT_SCORES else None  # which prompts, how long an answer
            groups.setdefault((tokens[round_.number], generation), []).append((sign * value, round_.number))
    best = frozenset(min(group)[1] for group in groups.values() if len(group) > 1)
    members = [[number for _, number in group] for group in groups.values()]
    largest = max(members, key=lambda numbers: (len(numbers), -min(numbers)), default=[])
    others = frozenset(number for numbers in members if numbers is not largest for number in numbers)
    return Leaders(best, others if key in OF_TOKENS else frozenset(), min(largest, default=None))


def compare_in(first: Round, second: Round, key: str) -> bool:
    """Return True if the values of the two rounds in the column `key` can be compared."""
    if key not in OF_TOKENS:
        return True
    same_prompts = key not in TEXT_SCORES or first.spec.generation == second.spec.generation
    return are_comparable(first, second) and same_prompts


def _has_loss(round_: Round) -> bool:
    return round_.result.perplexity is not None or round_.result.eval_loss is not None


def best_rounds(rounds: Iterable[Round], key: str = "perplexity") -> frozenset[int]:
    """Return the numbers of the best of each group of comparable rounds."""
    return find_leaders(rounds, key).best

"""How rounds compare: on what they were measured, what differs between them, and how the results moved."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from engine.columns import Column, columns, not_finite
from engine.fields import changed_keys, describe_value, spec_fields
from engine.rounds import Result, Round
from engine.units import format_perplexity

UNKNOWN = "unknown"
TOLD_APART = ("number", "note", "message")  # the head of a column, and sentences that no cell has room for


def held_out_tokens(round_: Round) -> Hashable:
    """Equal for rounds that are measured on the same held-out tokens, which alone makes their losses comparable.

    The base model brings the tokenizer; the data, with its format, template and length, the rows; its seed the split.
    """
    return round_.spec.model.path, round_.spec.data


def are_comparable(first: Round, second: Round) -> bool:
    """Whether a loss of the one says something about a loss of the other."""
    return held_out_tokens(first) == held_out_tokens(second)


def best_rounds(rounds: Iterable[Round], measure: str = "perplexity") -> frozenset[int]:
    """Numbers of the rounds with the lowest `measure` of those they can be compared with, the earliest of equals.

    Rounds measured on other tokens stand apart, and one that nothing compares with is not the best of anything.
    """
    groups: dict[Hashable, list[tuple[float, int]]] = {}
    for round_ in rounds:
        if (value := getattr(round_.result, measure)) is not None:
            groups.setdefault(held_out_tokens(round_), []).append((value, round_.number))
    return frozenset(min(group)[1] for group in groups.values() if len(group) > 1)


class Movement(Struct, frozen=True):
    """How a perplexity moved from `before` to `after`."""

    before: float
    after: float

    @property
    def percent(self) -> float | None:
        """The change in percent of `before`; None where that is 0."""
        return 100 * (self.after - self.before) / self.before if self.before else None

    @property
    def word(self) -> str:
        return "fell" if self.after < self.before else "rose" if self.after > self.before else "stayed"

    @property
    def percent_text(self) -> str:
        """`-34.0 %`, and nothing where there is none."""
        return "" if self.percent is None else f"{self.percent:+.1f} %"


def moved(first: Round, second: Round) -> Movement | None:
    """From the first round's perplexity to the second's; None unless both were measured on the same tokens."""
    before, after = first.result.perplexity, second.result.perplexity
    if before is None or after is None or not are_comparable(first, second):
        return None
    return Movement(before, after)


def moved_from_base(round_: Round) -> Movement | None:
    """From the base model's perplexity to the round's own, which is always over the same tokens."""
    before, after = round_.result.base_perplexity, round_.result.perplexity
    return None if before is None or after is None else Movement(before, after)


def movement(first: Round, second: Round) -> str:
    """How perplexity moved from the first round to the second, or why that cannot be said, in one sentence."""
    for round_ in (first, second):
        if told := not_finite(round_.result, "perplexity"):
            return f"the perplexity of round {round_.number} is {told}"
        if round_.result.perplexity is None:
            return f"round {round_.number} has no perplexity to compare"
    change = moved(first, second)
    if change is None:
        return f"perplexity was measured on other held-out tokens, as {other_tokens(first, second)} differs"
    share = f" ({change.percent_text})" if change.percent_text else ""
    return f"perplexity {change.word}: {format_perplexity(change.before)} -> {format_perplexity(change.after)}{share}"


def other_tokens(first: Round, second: Round) -> str:
    """The fields that give two rounds other held-out tokens, by name."""
    keys = changed_keys(first.spec, second.spec)
    return ", ".join(key for key in keys if key == "model.path" or key.startswith("data."))


def difference(first: Round, second: Round) -> list[tuple[str, str, str]]:
    """(key, in the first, in the second) for each field that differs, then for each result either has."""
    rows = [(key, spec_text(key, first), spec_text(key, second)) for key in changed_keys(first.spec, second.spec)]
    for key in Result.__struct_fields__:
        column = columns().get(key)
        if column is not None and (column.text(first) or column.text(second)):
            rows.append((key, column.text(first) or UNKNOWN, column.text(second) or UNKNOWN))
    return rows


def spec_text(key: str, round_: Round) -> str:
    """A field of a round's spec as people read it."""
    return describe_value(key, columns()[key].value(round_))


def differing_keys(rounds: Sequence[Round]) -> list[str]:
    """The spec's keys whose values are not the same in all rounds, in the order of the spec."""
    return [key for key in spec_fields() if _differs(columns()[key], rounds)]


def _differs(column: Column, rounds: Sequence[Round]) -> bool:
    return len({repr(column.value(round_)) + not_finite(round_.result, column.key) for round_ in rounds}) > 1


class ComparedField(Struct, frozen=True):
    """One field in each of the rounds compared, in their order: as text, "" where it is unknown.

    `best` holds the places of the rounds that did best in it, among those that can be compared.
    """

    key: str
    title: str
    texts: tuple[str, ...]
    differs: bool
    numeric: bool
    best: frozenset[int] = frozenset()


BASE_CHANGE = "against base"
MEASURES = ("eval_loss", "perplexity")


def compared_fields(rounds: Sequence[Round]) -> list[ComparedField]:
    """Every field of spec, plan and result side by side, and by how much each round moved from its base model."""
    fields = []
    for key, column in columns().items():
        if key in TOLD_APART:
            continue
        texts = tuple(spec_text(key, item) if key in spec_fields() else column.text(item) for item in rounds)
        best = best_rounds(rounds, key) if key in MEASURES else frozenset()
        places = frozenset(place for place, item in enumerate(rounds) if item.number in best)
        fields.append(ComparedField(key, column.title, texts, _differs(column, rounds), column.numeric, places))
        if key == "base_perplexity":
            fields.append(_base_change(rounds))
    return fields


def _base_change(rounds: Sequence[Round]) -> ComparedField:
    changes: list[Any] = [moved_from_base(item) for item in rounds]
    texts = tuple("" if change is None else change.percent_text for change in changes)
    return ComparedField(BASE_CHANGE, BASE_CHANGE, texts, len(set(texts)) > 1, True)

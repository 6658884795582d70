"""How rounds compare: what differs between them, and how the results moved."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from engine.compare.columns import Column, columns, not_finite
from engine.compare.comparability import moved, why_incomparable
from engine.compare.leaders import best_rounds, compare_in
from engine.compare.verdict import Verdict
from engine.errors import RoundError
from engine.spec.fields import changed_keys, describe_value, spec_fields
from engine.spec.round import Result, Round
from engine.text.humanize import format_perplexity

UNKNOWN = "unknown"
NOT_COMPARED = ("number", "pinned", "note", "message", "against_parent")  # the head of a column, or no property
FEWEST, MOST = 2, 10  # rounds side by side


def check_count(rounds: Sequence[Round]) -> None:
    """Raise RoundError unless there are as many rounds as can be read side by side."""
    if not FEWEST <= len(rounds) <= MOST:
        many = f"{len(rounds)} rounds are" if len(rounds) != 1 else "one round is"
        what = "too many" if len(rounds) > MOST else "too few"
        raise RoundError(f"{many} {what} to compare: choose {FEWEST} to {MOST}")


def movement(first: Round, second: Round) -> str:
    """How perplexity moved from the first round to the second, or why that cannot be said, in one sentence."""
    for round_ in (first, second):
        if told := not_finite(round_.result, "perplexity"):
            return f"the perplexity of round {round_.number} is {told}"
        if round_.result.perplexity is None:
            return f"round {round_.number} has no perplexity to compare"
    change = moved(first, second)
    if change is None:
        return f"perplexity was measured on other held-out tokens: {why_incomparable(first, second)}"
    share = f" ({change.percent_text})" if change.percent_text else ""
    return f"perplexity {change.word}: {format_perplexity(change.before)} -> {format_perplexity(change.after)}{share}"


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
    """One field of the compared rounds: a text for each round, in their order, "" where the value is unknown.

    `best` holds the indices of the best of each group of comparable rounds, `incomparable` those of the rounds whose
    value cannot be compared with the first round's.
    """

    key: str
    title: str
    texts: tuple[str, ...]
    differs: bool
    numeric: bool
    best: frozenset[int] = frozenset()
    incomparable: frozenset[int] = frozenset()


AGAINST_FIRST, VERDICT = "against_first", "verdict"


def compared_fields(rounds: Sequence[Round], verdicts: Sequence[Verdict] = ()) -> list[ComparedField]:
    """Every field of spec, plan and result side by side, and by how much perplexity moved from the first round.

    Args:
        verdicts: on each round, if they are known.
    """
    fields = []
    for key, column in columns().items():
        if key in NOT_COMPARED:
            continue
        texts = tuple(spec_text(key, item) if key in spec_fields() else column.text(item) for item in rounds)
        best = best_rounds(rounds, key)
        places = frozenset(place for place, item in enumerate(rounds) if item.number in best)
        apart = frozenset(
            place for place, item in enumerate(rounds) if texts[place] and not compare_in(rounds[0], item, key)
        )
        fields.append(ComparedField(key, column.title, texts, _differs(column, rounds), column.numeric, places, apart))
        if key == "against_base" and rounds:
            fields.append(_against_first(rounds))
            if any(item.word not in ("", "unknown") for item in verdicts):
                words = tuple(item.word for item in verdicts)
                fields.append(ComparedField(VERDICT, "is it real?", words, differs=True, numeric=True))
    return fields


def _against_first(rounds: Sequence[Round]) -> ComparedField:
    first = rounds[0]
    changes = [moved(first, item) if item is not first else None for item in rounds]
    texts = tuple("" if change is None else change.percent_text for change in changes)
    return ComparedField(AGAINST_FIRST, f"against round {first.number}", texts, any(texts), True)

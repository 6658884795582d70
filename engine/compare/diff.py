"""The fields of rounds side by side, and those that differ."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from engine.compare.columns import Column, columns, not_finite
from engine.compare.comparability import moved
from engine.compare.leaders import best_rounds, compare_in
from engine.compare.verdict import UNKNOWN, Verdict
from engine.errors import RoundError
from engine.spec.fields import changed_keys, describe_value, spec_fields
from engine.spec.round import Result, Round

# The head of a column, or no property.
NOT_COMPARED = ("number", "pinned", "note", "message", "against_parent", "sweep", "setting")
FEWEST, MOST = 2, 10  # rounds side by side


def check_count(rounds: Sequence[Round]) -> None:
    """Raise RoundError for too few or too many rounds to show side by side."""
    if not FEWEST <= len(rounds) <= MOST:
        many = f"{len(rounds)} rounds are" if len(rounds) != 1 else "one round is"
        what = "too many" if len(rounds) > MOST else "too few"
        raise RoundError(f"{many} {what} to compare: choose {FEWEST} to {MOST}")


def difference(first: Round, second: Round) -> list[tuple[str, str, str]]:
    """Return (key, first value, second value) for each field that differs, then for each result that either has."""
    rows = [(key, spec_text(key, first), spec_text(key, second)) for key in changed_keys(first.spec, second.spec)]
    for key in Result.__struct_fields__:
        column = columns().get(key)
        if column is not None and (column.text(first) or column.text(second)):
            rows.append((key, column.text(first) or UNKNOWN, column.text(second) or UNKNOWN))
    return rows


def spec_text(key: str, round_: Round) -> str:
    """Write a field of a round's spec for people."""
    return describe_value(key, columns()[key].value(round_))


def differing_keys(rounds: Sequence[Round]) -> list[str]:
    """Return the spec's keys whose values are not the same in all rounds, in the order of the spec."""
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
    """Return every field of spec, plan and result side by side, with the change of perplexity from the first round.

    Args:
        verdicts: one for each round, or empty while they are not known.
    """
    fields = []
    for key, column in columns().items():
        if key in NOT_COMPARED:
            continue
        texts = tuple(spec_text(key, round_) if key in spec_fields() else column.text(round_) for round_ in rounds)
        best_numbers = best_rounds(rounds, key)
        best = frozenset(index for index, round_ in enumerate(rounds) if round_.number in best_numbers)
        incomparable = frozenset(
            index for index, round_ in enumerate(rounds) if texts[index] and not compare_in(rounds[0], round_, key)
        )
        differs = _differs(column, rounds)
        fields.append(ComparedField(key, column.title, texts, differs, column.numeric, best, incomparable))
        if key == "against_base" and rounds:
            fields.append(_against_first(rounds))
            if any(verdict.word not in ("", UNKNOWN) for verdict in verdicts):
                words = tuple(verdict.word for verdict in verdicts)
                fields.append(ComparedField(VERDICT, "is it real?", words, differs=True, numeric=True))
    return fields


def _against_first(rounds: Sequence[Round]) -> ComparedField:
    first = rounds[0]
    changes = [moved(first, round_) if round_ is not first else None for round_ in rounds]
    texts = tuple("" if change is None else change.percent_text for change in changes)
    return ComparedField(AGAINST_FIRST, f"against round {first.number}", texts, any(texts), True)

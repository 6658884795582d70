"""What is to be said of compared rounds beside their table: what is real, what does not compare, what has no curve."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compare.comparability import incomparable_reasons, why_incomparable
from engine.compare.verdict import Verdict
from engine.spec.round import Round, Status
from engine.text.humanize import name_rounds

UNKNOWN = "unknown"


def verdict_lines(rounds: Sequence[Round], verdicts: Sequence[Verdict], most: int) -> list[str]:
    """What the verdicts against the first round are.

    The whole sentence of a second round; a line for each of several as far as these are `most` at most, else a line for
    each kind of verdict.
    """
    first = rounds[0]
    said = [(item, found) for item, found in zip(rounds, verdicts, strict=False) if _is_news(first, item, found)]
    if len(rounds) == 2:
        return [found.told for _, found in said]
    known = [(item, found) for item, found in said if found.word != UNKNOWN]
    told = [f"round {item.number} against {first.number}: {found.brief}" for item, found in known]
    if len(told) > most:
        told = [_by_word(first, known)]
    if unknown := [item.number for item, found in said if found.word == UNKNOWN]:
        differ = "differs" if len(unknown) == 1 else "differ"
        told.append(f"whether {name_rounds(unknown)} really {differ} is unknown: no held-out scores to compare")
    return told


def _is_news(first: Round, round_: Round, found: Verdict) -> bool:
    """Whether there is a verdict, and it is not only that the two do not compare, which is told with its reason."""
    return found.word not in ("", "not comparable", UNKNOWN) or (
        bool(found.word) and not why_incomparable(first, round_)
    )


def _by_word(first: Round, said: Sequence[tuple[Round, Verdict]]) -> str:
    words: dict[str, list[int]] = {}
    for round_, found in said:
        words.setdefault(found.word, []).append(round_.number)
    told = "; ".join(f"{word}: {name_rounds(numbers)}" for word, numbers in words.items())
    return f"against round {first.number}, {told}"


def remarks(
    rounds: Sequence[Round], verdicts: Sequence[Verdict], curveless: Sequence[Round], most_verdicts: int
) -> list[str]:
    """A line for each thing to be said; `curveless` are the rounds that have no curve."""
    judged = verdict_lines(rounds, verdicts, most_verdicts)
    return [*judged, *incomparable_reasons(rounds, rounds[0]), *_told_curveless(curveless)]


def _told_curveless(rounds: Sequence[Round]) -> list[str]:
    """Which rounds have no curve, and why."""
    imported = [item.number for item in rounds if item.status is Status.IMPORTED]
    others = [item.number for item in rounds if item.status is not Status.IMPORTED]
    told = [f"imported without a run, so without a curve: {name_rounds(imported)}"] if imported else []
    return told + ([f"no curve: {name_rounds(others)}"] if others else [])

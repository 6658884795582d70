"""The lines beside a comparison's table: which differences are real, what does not compare, what has no curve."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compare.comparability import incomparable_reasons, numbers_by_reason
from engine.compare.verdict import (
    NOT_COMPARABLE,
    UNKNOWN,
    Verdict,
    curveless_lines,
    unknown_line,
    verdict_line,
    verdicts_by_word,
)
from engine.spec.round import Round


def verdict_lines(rounds: Sequence[Round], verdicts: Sequence[Verdict], most: int) -> list[str]:
    """Choose the lines for the verdicts against the first round.

    A second round gets its whole sentence. Several rounds get a line each if that makes at most `most` lines, else one
    line names the rounds of each kind of verdict.
    """
    first = rounds[0]
    shown = [pair for pair in zip(rounds, verdicts, strict=False) if _is_shown(first, *pair)]
    if len(rounds) == 2:
        return [verdict.sentence for _, verdict in shown]
    decided = [(round_, verdict) for round_, verdict in shown if verdict.word != UNKNOWN]
    lines = [verdict_line(first, round_, verdict) for round_, verdict in decided]
    if len(lines) > most:
        lines = [verdicts_by_word(first, decided)]
    if unknown := [round_ for round_, verdict in shown if verdict.word == UNKNOWN]:
        lines.append(unknown_line(unknown))
    return lines


def _is_shown(first: Round, round_: Round, verdict: Verdict) -> bool:
    """Return False without a verdict, or if a line of `incomparable_reasons` says the same."""
    if verdict.word in (NOT_COMPARABLE, UNKNOWN):
        return not numbers_by_reason([round_], first)
    return bool(verdict.word)


def remarks(
    rounds: Sequence[Round], verdicts: Sequence[Verdict], curveless: Sequence[Round], most_verdicts: int
) -> list[str]:
    """Return all lines; `curveless` are the rounds that have no curve."""
    lines = verdict_lines(rounds, verdicts, most_verdicts)
    return [*lines, *incomparable_reasons(rounds, rounds[0]), *curveless_lines(curveless)]

"""The sentences of a comparison: how perplexity moved, whether the difference is real, which rounds have no curve.

The numbers come from `engine.compare.significance`; this module is light, so that a screen can import it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from engine.compare.columns import not_finite
from engine.compare.comparability import moved, why_incomparable
from engine.spec.held_out import holds_nothing_out
from engine.spec.round import Round, Status
from engine.text.humanize import format_perplexity, name_rounds

if TYPE_CHECKING:
    from engine.compare.paired_bootstrap import PairedScores

UNKNOWN, NOT_COMPARABLE, NO_DIFFERENCE = "unknown", "not comparable", "no difference"


class Verdict(Struct, frozen=True):
    """The answer to "is the difference real?" for a round and the first round of the comparison.

    Attributes:
        word: `better`, `worse`, `no difference`, `not comparable` or `unknown`; "" where there is nothing to compare.
        sentence: the whole answer, with the numbers of both rounds.
        brief: the same without the numbers of the rounds, for a line that names them already.
    """

    word: str = ""
    sentence: str = ""
    brief: str = ""


def movement(first: Round, second: Round) -> str:
    """Say in one sentence how perplexity moved from the first round to the second, or why that is unknown."""
    for round_ in (first, second):
        if nonfinite := not_finite(round_.result, "perplexity"):
            return f"the perplexity of round {round_.number} is {nonfinite}"
        if round_.result.perplexity is None:
            return no_perplexity(round_).sentence
    change = moved(first, second)
    if change is None:
        return f"perplexity was measured on other held-out tokens: {why_incomparable(first, second)}"
    share = f" ({change.percent_text})" if change.percent_text else ""
    return f"perplexity {change.word}: {format_perplexity(change.before)} -> {format_perplexity(change.after)}{share}"


def no_perplexity(round_: Round) -> Verdict:
    """Return the verdict on two rounds of which this one was not measured."""
    if holds_nothing_out(round_.spec.data):
        reason = f"round {round_.number} held out no rows (data.eval_fraction 0)"
        return Verdict(NOT_COMPARABLE, f"{reason}, so it cannot be compared", f"not comparable, as {reason}")
    return Verdict(sentence=f"round {round_.number} has no perplexity to compare")


def no_scores(round_: Round) -> Verdict:
    """Return the verdict on two rounds of which this one has no scores of single rows."""
    reason = f"round {round_.number} kept no scores of its held-out rows"
    sentence = f"{reason}, so it is not known whether the difference is real"
    return Verdict(UNKNOWN, sentence, f"unknown, as {reason}")


def verdict_on(first: int, second: int, paired: PairedScores) -> Verdict:
    """Return the verdict that the paired scores of two rounds give; the rounds are named by number."""
    if not paired.common:
        reason = f"rounds {first} and {second} share no held-out row with the same supervised tokens"
        brief = "not comparable, as no held-out row is the same"
        return Verdict(NOT_COMPARABLE, f"{reason}: they cannot be compared", brief)
    over = _over(paired)
    difference = paired.difference
    if difference is None:
        sentence = f"rounds {first} and {second} cannot be distinguished over {over}"
        return Verdict(NO_DIFFERENCE, sentence, f"cannot be distinguished over {over}")
    low, high = (_percent(end) for end in (difference.low, difference.high))
    size = f"{_percent(difference.value)} (95 %: {low} to {high})"
    if not difference.holds_zero:
        word = "better" if difference.value < 0 else "worse"
        sentence = f"round {second} is {word} than round {first}: perplexity {size} over {over}"
        return Verdict(word, sentence, f"{word}, {size}")
    needed = paired.examples_to_settle
    settled = f"; about {needed:,} rows would settle it" if needed is not None else ""
    sentence = f"no difference between rounds {first} and {second} at this size: perplexity {size} over {over}{settled}"
    return Verdict(NO_DIFFERENCE, sentence, f"no difference at this size, {size}{settled}")


def _over(paired: PairedScores) -> str:
    rows = "row" if paired.common == 1 else "rows"
    if not paired.only_first and not paired.only_second:
        return f"the same {paired.common:,} held-out {rows}"
    return f"the {paired.common:,} held-out {rows} that both have, of {paired.common + paired.only_first:,} and " + (
        f"{paired.common + paired.only_second:,}"
    )


def _percent(nats: float) -> str:
    """Write a difference of losses as one of perplexities."""
    try:
        return f"{100 * math.expm1(nats):+.1f} %"
    except OverflowError:
        return "beyond measure"


def verdict_line(first: Round, round_: Round, verdict: Verdict) -> str:
    """Write one verdict of several on a line of its own."""
    return f"round {round_.number} against {first.number}: {verdict.brief}"


def verdicts_by_word(first: Round, verdicts: Sequence[tuple[Round, Verdict]]) -> str:
    """Write many verdicts on one line: the rounds that are better, those that are worse, and so on."""
    numbers_by_word: dict[str, list[int]] = {}
    for round_, verdict in verdicts:
        numbers_by_word.setdefault(verdict.word, []).append(round_.number)
    parts = "; ".join(f"{word}: {name_rounds(numbers)}" for word, numbers in numbers_by_word.items())
    return f"against round {first.number}, {parts}"


def unknown_line(rounds: Sequence[Round]) -> str:
    """Name the rounds whose scores are missing."""
    differ = "differs" if len(rounds) == 1 else "differ"
    numbers = name_rounds([round_.number for round_ in rounds])
    return f"it is not known whether {numbers} really {differ}: there are no held-out scores to compare"


def curveless_lines(rounds: Sequence[Round]) -> list[str]:
    """Name the rounds without a curve: the imported ones on one line, the others on another."""
    imported = [round_.number for round_ in rounds if round_.status is Status.IMPORTED]
    others = [round_.number for round_ in rounds if round_.status is not Status.IMPORTED]
    lines = [f"imported without a run, so without a curve: {name_rounds(imported)}"] if imported else []
    return lines + ([f"without a curve: {name_rounds(others)}"] if others else [])

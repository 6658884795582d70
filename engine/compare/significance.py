"""Whether the difference of two rounds is real, in a sentence: the paired bootstrap over the rows that both scored."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.compare.paired_bootstrap import PairedScores, pair
from engine.compare.verdict import Verdict
from engine.files.paths import RunDir, Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Evaluated
from engine.runs.scores import Scores, read_scores
from engine.spec.round import Round


def scores_of_result(workspace: Workspace, round_: Round) -> Scores | None:
    """Return the scores of the held-out rows from when the round's result was measured; None if they are not there."""
    run = workspace.run_dir(round_.id)
    step = round_.result.step
    if step is None:
        step = _step_with_loss(run, round_.result.eval_loss)
    return read_scores(run, step) if step is not None else None


def _step_with_loss(run: RunDir, loss: float | None) -> int | None:
    """Find the step at which version 0.1.0 measured a result, which it did not record: by its eval loss."""
    try:
        measured = [event for event in read_events(run.events, Evaluated) if isinstance(event, Evaluated)]
    except OSError:
        return None
    steps = [event.step for event in measured if event.step > 0 and event.eval_loss == loss is not None]
    return steps[-1] if steps else None


def verdict(workspace: Workspace, first: Round, second: Round) -> Verdict:
    """Of the second round against the first."""
    return verdicts(workspace, [first, second])[1]


def verdicts(workspace: Workspace, rounds: Sequence[Round]) -> list[Verdict]:
    """Of each round against the first, which itself has none to say."""
    first, *others = rounds
    scores = scores_of_result(workspace, first)
    found = [_against(first, scores, item, scores_of_result(workspace, item)) for item in others]
    return [Verdict(), *found]


def _against(first: Round, before: Scores | None, second: Round, after: Scores | None) -> Verdict:
    for round_, scores in ((first, before), (second, after)):
        if round_.result.perplexity is None:
            return Verdict(told=f"round {round_.number} has no perplexity to compare")
        if scores is None:
            unknown = "so whether the difference is real is unknown"
            told = f"round {round_.number} kept no scores of its held-out rows, {unknown}"
            return Verdict("unknown", told, f"unknown, as round {round_.number} kept no scores of its held-out rows")
    assert before is not None and after is not None
    return verdict_on(first.number, second.number, pair(before, after))


def verdict_on(first: int, second: int, paired: PairedScores) -> Verdict:
    """What the paired scores of two rounds, by number, say."""
    if not paired.common:
        told = f"rounds {first} and {second} share no held-out row with the same supervised tokens: they do not compare"
        return Verdict("not comparable", told, "not comparable, as no held-out row is the same")
    over = _over(paired)
    difference = paired.difference
    if difference is None:
        told = f"over {over} rounds {first} and {second} cannot be told apart"
        return Verdict("no difference", told, f"cannot be told apart over {over}")
    low, high = (_percent(end) for end in (difference.low, difference.high))
    size = f"{_percent(difference.value)} (95 %: {low} to {high})"
    if not difference.holds_zero:
        told = f"round {second} is {paired.verdict} than round {first}: perplexity {size} over {over}"
        return Verdict(paired.verdict, told, f"{paired.verdict}, {size}")
    needed = paired.examples_to_settle
    settled = f"; about {needed:,} rows would settle it" if needed is not None else ""
    told = f"no difference between rounds {first} and {second} at this size: perplexity {size} over {over}{settled}"
    return Verdict("no difference", told, f"no difference at this size, {size}{settled}")


def _over(paired: PairedScores) -> str:
    rows = "row" if paired.common == 1 else "rows"
    if not paired.only_first and not paired.only_second:
        return f"the same {paired.common:,} held-out {rows}"
    return f"the {paired.common:,} held-out {rows} that both have, of {paired.common + paired.only_first:,} and " + (
        f"{paired.common + paired.only_second:,}"
    )


def _percent(nats: float) -> str:
    """A difference of losses as that of perplexities."""
    try:
        return f"{100 * math.expm1(nats):+.1f} %"
    except OverflowError:
        return "beyond measure"

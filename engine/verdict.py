"""Whether the difference of two rounds is real, in a sentence: the paired bootstrap over the rows that both scored."""

from __future__ import annotations

import math

from engine.events import Evaluated
from engine.paired import PairedScores, pair
from engine.rounds import Round
from engine.runlog import read_events
from engine.scores import Scores, read_scores
from engine.workspace import Workspace


def scores_of_result(workspace: Workspace, round_: Round) -> Scores | None:
    """What each held-out row scored when the round's result was measured; None if that was not kept."""
    run = workspace.run_dir(round_.id)
    loss = round_.result.eval_loss
    measured = [event for event in read_events(run.events, Evaluated) if isinstance(event, Evaluated)]
    steps = [event.step for event in measured if event.step > 0 and event.eval_loss == loss is not None]
    return read_scores(run, steps[-1]) if steps else None


def verdict(workspace: Workspace, first: Round, second: Round) -> str:
    """Of the second round against the first, in one sentence."""
    found = [scores_of_result(workspace, round_) for round_ in (first, second)]
    for round_, scores in zip((first, second), found, strict=True):
        if scores is None:
            unknown = "so whether the difference is real is unknown"
            return f"round {round_.number} kept no scores of its held-out rows, {unknown}"
    assert found[0] is not None and found[1] is not None
    return verdict_words(first.number, second.number, pair(found[0], found[1]))


def verdict_words(first: int, second: int, paired: PairedScores) -> str:
    """What the paired scores of two rounds, by number, say."""
    if not paired.common:
        return f"rounds {first} and {second} share no held-out row with the same supervised tokens: they do not compare"
    over = _over(paired)
    difference = paired.difference
    if difference is None:
        return f"over {over} rounds {first} and {second} cannot be told apart"
    low, high = (_percent(end) for end in (difference.low, difference.high))
    told = f"perplexity {_percent(difference.value)} (95 %: {low} to {high}) over {over}"
    if not difference.holds_zero:
        return f"round {second} is {paired.verdict} than round {first}: {told}"
    needed = paired.examples_to_settle
    settled = f"; about {needed:,} rows would settle it" if needed is not None else ""
    return f"no difference between rounds {first} and {second} at this size: {told}{settled}"


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

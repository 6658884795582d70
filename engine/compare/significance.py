"""The test of whether two rounds really differ: the paired bootstrap over the held-out rows that both scored."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compare.paired_bootstrap import pair
from engine.compare.verdict import Verdict, no_perplexity, no_scores, verdict_on
from engine.files.paths import RunDir, Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Evaluated
from engine.runs.scores import Scores, read_scores
from engine.spec.round import Round


def scores_of_result(workspace: Workspace, round_: Round) -> Scores | None:
    """Read the scores of each held-out row at the step of the round's result; None if they cannot be read."""
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
    """Return the verdict on the second round against the first."""
    return verdicts(workspace, [first, second])[1]


def verdicts(workspace: Workspace, rounds: Sequence[Round]) -> list[Verdict]:
    """Return the verdict on each round against the first; the first itself gets an empty one."""
    first, *others = rounds
    scores = scores_of_result(workspace, first)
    return [Verdict(), *(_against(first, scores, other, scores_of_result(workspace, other)) for other in others)]


def _against(first: Round, before: Scores | None, second: Round, after: Scores | None) -> Verdict:
    for round_ in (first, second):
        if round_.result.perplexity is None:
            return no_perplexity(round_)
    for round_, scores in ((first, before), (second, after)):
        if scores is None:
            return no_scores(round_)
    assert before is not None and after is not None
    return verdict_on(first.number, second.number, pair(before, after))

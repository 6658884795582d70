"""The answer of a sweep in words: which setting is best, and which others are no different from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from engine.compare.paired_bootstrap import pair
from engine.compare.significance import scores_of_result
from engine.compare.verdict import NO_DIFFERENCE, Verdict, no_scores, verdict_on
from engine.files.paths import Workspace
from engine.runs.scores import Scores
from engine.sweeps.progress import Progress, Setting
from engine.sweeps.sweep_queue import point_text

NAMED = 5  # settings that a sentence names


class SweepAnswer(Struct, frozen=True):
    """The answer that the finished settings of a sweep give.

    Attributes:
        sentences: the answer; one sentence on why there is none if no setting is finished.
        verdicts: on each finished setting against the best one, by number; the best one has an empty one.
    """

    sentences: tuple[str, ...]
    verdicts: dict[int, Verdict]


def answer_of(workspace: Workspace, progress: Progress) -> SweepAnswer:
    """Compare all finished settings with the best one, over the held-out rows that both have scored."""
    best = progress.best
    if best is None:
        return SweepAnswer(("no setting is finished yet",), {})
    finished = sorted((each for each in progress.settings if each.loss is not None), key=lambda each: each.loss or 0.0)
    scores = _scores_of(workspace, best)
    verdicts = {best.number: Verdict()}
    for setting in finished[1:]:
        verdicts[setting.number] = _verdict(workspace, best, scores, setting)
    return SweepAnswer((*_sentences(best, finished, verdicts),), verdicts)


def _sentences(best: Setting, finished: Sequence[Setting], verdicts: dict[int, Verdict]) -> list[str]:
    assert best.loss is not None
    perplexity = f"perplexity {math.exp(best.loss):.3g}"
    of = f"best of {len(finished)} settings" if len(finished) > 1 else "the only finished setting"
    sentences = [f"setting {best.number} ({point_text(best.point)}) is {of}: {perplexity}"]
    alike = [each for each in finished if verdicts[each.number].word == NO_DIFFERENCE]
    if alike:
        names = "; ".join(f"{each.number} ({point_text(each.point)})" for each in alike[:NAMED])
        more = f"; and {len(alike) - NAMED} more" if len(alike) > NAMED else ""
        sentences.append(f"no different from it at this size: {names}{more}")
    if len(finished) > 1:
        sentences.append("the best figure was chosen on these held-out rows: it is probably lower than on other rows")
    return sentences


def _verdict(workspace: Workspace, best: Setting, scores: Scores | None, setting: Setting) -> Verdict:
    others = _scores_of(workspace, setting)
    if scores is None or others is None:
        return no_scores((best if scores is None else setting).rounds[0])
    return verdict_on(best.rounds[0].number, setting.rounds[0].number, pair(scores, others))


def _scores_of(workspace: Workspace, setting: Setting) -> Scores | None:
    """Return the scores of a setting: of each row the mean over its rounds; None if one cannot be read."""
    scores = [scores_of_result(workspace, round_) for round_ in setting.rounds]
    read = [each for each in scores if each is not None]
    if not read or len(read) < len(scores) or any(each.examples != read[0].examples for each in read):
        return None
    means = zip(*(each.nlls for each in read), strict=True)
    nlls = tuple(None if None in row else sum(n for n in row if n is not None) / len(read) for row in means)
    return Scores(read[0].examples, read[0].tokens, nlls)

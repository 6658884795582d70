"""The noise of a difference between two rounds, against arithmetic by hand."""

from __future__ import annotations

import math

import pytest

from engine.files.paths import Workspace
from engine.planning.held_out_noise import noise_on
from engine.runs.scores import Scores, write_scores
from engine.spec.round import Result, Round, Status
from tests.support.rounds import make_round, make_spec

TOKENS = (10, 20, 30, 40, 10, 20, 30, 40, 10, 10)
FIRST = (12.0, 21.0, 33.0, 47.0, 9.0, 26.0, 31.0, 40.0, 11.0, 10.0)
SECOND = (11.0, 22.0, 30.0, 46.0, 9.5, 22.0, 31.0, 41.0, 10.0, 8.0)
POWER = 2.8  # 1.96 + 0.84: found at 5 %, four times out of five


def scored(workspace: Workspace, number: int, nlls: tuple[float, ...] | None, **settings: object) -> Round:
    """A finished round with the scores of its held-out rows."""
    result = Result(eval_loss=1.0, perplexity=2.7, step=5)
    round_ = make_round(number, Status.FINISHED, spec=make_spec(**settings), result=result)
    if nlls is not None:
        run = workspace.run_dir(round_.id)
        run.path.mkdir(parents=True)
        write_scores(run, 5, Scores(tuple(f"row {index}" for index in range(len(nlls))), TOKENS, nlls))
    return round_


def by_hand() -> float:
    """The error of a ratio of sums by the delta method, times the quantiles."""
    differences = [after - before for before, after in zip(FIRST, SECOND, strict=True)]
    mean = sum(differences) / sum(TOKENS)
    residuals = [difference - mean * count for difference, count in zip(differences, TOKENS, strict=True)]
    return POWER * math.sqrt(sum(residual**2 for residual in residuals)) / sum(TOKENS)


def test_noise_is_that_of_the_paired_difference(workspace: Workspace) -> None:
    rounds = [scored(workspace, 1, FIRST), scored(workspace, 2, SECOND)]
    noise = noise_on(make_spec(), workspace, rounds)
    assert noise is not None
    assert (noise.rounds, noise.rows) == ((1, 2), len(TOKENS))
    assert noise.smallest == pytest.approx(by_hand(), rel=1e-9)
    assert noise.smallest_on(4 * len(TOKENS)) == pytest.approx(by_hand() / 2)
    rows = noise.rows_for(by_hand() / 3)
    assert rows in (9 * len(TOKENS), 9 * len(TOKENS) + 1)


def test_last_rounds_with_this_model_and_data_decide(workspace: Workspace) -> None:
    """However many rows they held out, and whatever else was set; one without scores is passed over."""
    rounds = [
        scored(workspace, 1, FIRST, lora__r=4),
        scored(workspace, 2, SECOND),
        scored(workspace, 3, None),
        scored(workspace, 4, SECOND, data__path="other/rows"),
        scored(workspace, 5, SECOND, model__path="other/model"),
    ]
    spec = make_spec(data__eval_fraction=0.3, train__learning_rate=1e-5)
    noise = noise_on(spec, workspace, rounds)
    assert noise is not None and noise.rounds == (1, 2)


def test_noise_is_unknown_without_two_scored_rounds(workspace: Workspace) -> None:
    first = scored(workspace, 1, FIRST)
    assert noise_on(make_spec(), workspace, []) is None
    assert noise_on(make_spec(), workspace, [first]) is None
    assert noise_on(make_spec(), workspace, [first, scored(workspace, 2, None)]) is None
    assert noise_on(make_spec(), workspace, [first, scored(workspace, 3, FIRST)]) is None, "no row differs"
    failed = make_round(4, Status.FAILED)
    assert noise_on(make_spec(), workspace, [first, failed]) is None

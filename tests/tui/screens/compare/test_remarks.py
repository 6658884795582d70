"""What is said beside a comparison."""

from __future__ import annotations

import pytest

from engine.compare.bootstrap import Interval
from engine.compare.paired_bootstrap import PairedScores
from engine.compare.verdict import Verdict, verdict_on
from engine.spec.round import Result, Round, Status
from tests.support.rounds import make_round, make_spec
from tui.screens.compare.remarks import remarks, verdict_lines

UNKNOWN = Verdict("unknown", "round 2 kept no scores", "unknown")


def rounds_of(count: int) -> list[Round]:
    return [make_round(number) for number in range(1, count + 1)]


def on(second: int, value: float) -> Verdict:
    """On a difference in nats that is sure to 0.03 either way."""
    interval = Interval(value, 0.03 / 1.96, value - 0.03, value + 0.03)
    return verdict_on(1, second, PairedScores(100, 0, 0, interval))


def test_a_single_verdict_is_the_whole_sentence() -> None:
    verdict = on(2, -0.1)
    assert verdict_lines(rounds_of(2), [Verdict(), verdict], 1) == [verdict.sentence]
    assert verdict_lines(rounds_of(2), [Verdict(), UNKNOWN], 1) == [UNKNOWN.sentence]


@pytest.mark.parametrize("most", [3, 4])
def test_several_verdicts_are_a_line_each_where_there_is_room(most: int) -> None:
    """exp(-0.1) is 0.905, exp(-0.13) 0.878, exp(-0.07) 0.932; (2.8 x 0.0153 / 0.01)^2 = 18.4 times the rows."""
    verdict = [Verdict(), on(2, -0.1), on(3, 0.1), on(4, 0.01)]
    assert verdict_lines(rounds_of(4), verdict, most) == [
        "round 2 against 1: better, -9.5 % (95 %: -12.2 % to -6.8 %)",
        "round 3 against 1: worse, +10.5 % (95 %: +7.3 % to +13.9 %)",
        "round 4 against 1: no difference at this size, +1.0 % (95 %: -2.0 % to +4.1 %); about 1,837 rows would "
        "settle it",
    ]


def test_more_than_there_is_room_for_are_grouped_by_verdict() -> None:
    verdict = [Verdict(), on(2, -0.1), on(3, 0.1), on(4, -0.2), UNKNOWN, UNKNOWN, Verdict()]
    assert verdict_lines(rounds_of(7), verdict, 2) == [
        "against round 1, better: rounds 2 and 4; worse: round 3",
        "it is not known whether rounds 5 and 6 really differ: there are no held-out scores to compare",
    ]


def test_round_that_does_not_compare_is_named_once_with_its_reason() -> None:
    apart = make_round(3, spec=make_spec(data__seed=1))
    rounds = [*rounds_of(2), apart, make_round(4, Status.IMPORTED, result=Result(perplexity=3.0))]
    verdict = [Verdict(), on(2, -0.1), verdict_on(1, 3, PairedScores(0, 9, 9, None)), UNKNOWN]
    assert remarks(rounds, verdict, rounds[3:], 4)[1:] == [
        "it is not known whether round 4 really differs: there are no held-out scores to compare",
        "round 3 was measured on other held-out tokens than round 1: other examples (data.seed)",
        "imported without a run, so without a curve: round 4",
    ]


def test_rows_that_changed_are_named_though_the_specs_are_the_same() -> None:
    verdict = verdict_on(1, 2, PairedScores(0, 9, 9, None))
    assert verdict_lines(rounds_of(2), [Verdict(), verdict], 1) == [verdict.sentence]


def test_nothing_is_said_of_what_is_not_known_yet() -> None:
    assert verdict_lines(rounds_of(3), [], 4) == []

"""That the benchmark of the bootstrap does what it says."""

from __future__ import annotations

from benchmarks.bootstrap import INTERVAL, VERDICT, made_up, measure, rows_of, verdict
from engine.compare.paired_bootstrap import pair


def test_both_are_measured_as_often_as_wanted() -> None:
    times = measure(examples=50, repeats=2)
    assert {name: len(seconds) for name, seconds in times.items()} == {INTERVAL: 2, VERDICT: 2}
    assert all(second > 0 for seconds in times.values() for second in seconds)


def test_scores_of_two_seeds_are_of_the_same_rows() -> None:
    found = pair(made_up(50, 1), made_up(50, 2))
    assert (found.common, found.only_first) == (50, 0) and found.difference is not None


def test_verdict_is_by_the_slower_median() -> None:
    times = {INTERVAL: [0.2, 0.9, 0.3], VERDICT: [1.5, 0.4, 1.1]}
    assert verdict(times) == "- **not met**: 10,000 examples in 1.10 s, wanted at most 1."
    assert rows_of(1000, times)[0] == ["interval, 1,000 examples", "300", "200"]

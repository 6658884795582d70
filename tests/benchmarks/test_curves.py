"""That the benchmark of curves does what it says."""

from __future__ import annotations

from benchmarks.curves import KEYS, OPEN, OPEN_ALONE, OPEN_MEMORY, START_MEMORY, measure_alone, rows_of, verdicts


def test_every_operation_is_measured_as_often_as_wanted() -> None:
    times, memory = measure_alone(steps=30, repeats=2)
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys((OPEN, OPEN_ALONE, *KEYS), 2)
    assert all(second > 0 for seconds in times.values() for second in seconds)
    assert memory.keys() == {START_MEMORY, OPEN_MEMORY}


def test_verdicts_are_by_the_medians_of_opening_and_of_the_slowest_key() -> None:
    times = {OPEN: [0.9, 0.8, 2.0], **{name: [0.02, 0.01, 0.03] for name in KEYS}, "pan": [0.06, 0.01, 0.07]}
    assert verdicts(times) == [
        "- met: open 900 ms, wanted at most 1000.",
        "- **not met**: pan 60 ms, wanted at most 50.",
    ]
    assert rows_of(times)[0] == ["open", "900.0", "800.0", "1,000"]
    assert rows_of({OPEN_ALONE: [1.5, 1.25]}) == [["open, log alone", "1,375.0", "1,250.0", ""]]

"""Predictions in words: what was compared, and why something was not."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from engine.planning.accuracy import ELSEWHERE, RESUMED
from engine.spec.round import Prediction, Result, Round
from tests.support.rounds import make_round
from tui.views.prediction import error_lines, history_table, prediction_in_words, prediction_lines

MIB = 2**20
PREDICTED = Prediction(
    device="this processor", is_gpu=False, peak_memory_bytes=330 * MIB, seconds=90.0, interval=(80.0, 120.0),
    tokens=2000, disk_bytes=5 * MIB,
)  # fmt: skip


def came(number: int = 1, **fields: Any) -> Round:
    """A round that took 300 MiB and 100 s for 2,500 tokens, and 4 MiB of the disk."""
    values: dict[str, Any] = {
        "device": "cpu", "started": 0.0, "ended": 100.0, "disk_bytes": 4 * MIB, "predicted": PREDICTED,
        "result": Result(peak_memory_bytes=300 * MIB, trained_tokens=2500),
    }  # fmt: skip
    return make_round(number, **(values | fields))


def test_figures_stand_beside_each_other() -> None:
    assert prediction_in_words(came()) == (
        "predicted → actual: peak memory 330 MiB → 300 MiB (+10.0 %) · time 1m30s → 1m40s (-10.0 %) · "
        "tokens 2.0k → 2.5k (-20.0 %) · disk 5 MiB → 4 MiB (+25.0 %)"
    )
    assert prediction_lines(came())[:2] == [
        ("predicted peak memory", "330 MiB, actual 300 MiB, error +10.0 %"),
        ("predicted time", "1m30s (1m20s to 2m0s), actual 1m40s, error -10.0 %"),
    ]
    assert (prediction_in_words(make_round()), prediction_lines(make_round())) == ("", [])


@pytest.mark.parametrize(
    ("fields", "ending"),
    [
        ({"device": "cuda"}, f" · peak memory and time not compared: {ELSEWHERE}"),
        ({"resumed_from": 3}, f" · peak memory and time and disk not compared: {RESUMED}"),
    ],
)
def test_reason_is_named_once(fields: dict[str, Any], ending: str) -> None:
    assert prediction_in_words(came(**fields)).endswith(ending)
    assert ("predicted time", f"1m30s (1m20s to 2m0s), not compared: {ending.rpartition(': ')[2]}") in (
        prediction_lines(came(**fields))
    )


def test_table_has_a_line_for_each_figure_and_fits_in_80_cells() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(history_table([came(1, name="long " * 40), came(2, resumed_from=3)]))
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert len(lines) == 1 + 4 + 4
    assert lines[1][0] == "1" and lines[1][-6:] == ["330", "MiB", "300", "MiB", "+10.0", "%"]
    assert lines[2] == ["time", "1m30s", "1m40s", "-10.0", "%"]
    assert lines[6] == ["time", "1m30s", "–"]


def test_errors_are_summed_up_by_median_and_worst() -> None:
    """Of 330 MiB where 300, 220 and 330 came, the errors are 10 %, 50 % and none."""
    peaks = {1: 300, 2: 220, 3: 330}
    rounds = [came(number, result=Result(peak_memory_bytes=peak * MIB)) for number, peak in peaks.items()]
    assert error_lines(rounds) == [
        "peak memory: median error 10.0 %, worst 50.0 % (round 2), over 3 rounds",
        "time: median error 10.0 %, worst 10.0 % (round 3), over 3 rounds",
        "disk: median error 25.0 %, worst 25.0 % (round 3), over 3 rounds",
        "an error above 0: more was predicted than came",
    ]
    assert error_lines([make_round()]) == []

from __future__ import annotations

import math
from functools import partial
from itertools import product

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engine.runs.chart_series import Metric, Numbers, Points, Series, XAxis, smooth
from engine.runs.events import Evaluated, Step
from engine.runs.snapshot import RunSnapshot
from tests.support.steps import step
from tui.widgets.chart.contents import SMOOTHING, ChartContents, ChartView
from tui.widgets.chart.texts import readings, title, why_empty

WIDTH = 60
ANY = st.floats(allow_nan=True, allow_infinity=True)
ODD_STEPS = st.builds(
    Step,
    time=ANY,
    step=st.integers(-(2**63), 2**63 - 1),
    epoch=ANY,
    loss=st.none() | ANY,
    learning_rate=ANY,
    grad_norm=st.none() | ANY,
    tokens=st.integers(-(2**70), 2**70),
    seconds=ANY,
    train_seconds=ANY,
    trained_tokens=st.integers(),
    memory_bytes=st.none() | st.integers(-(2**70), 2**70),
)
ODD_EVALUATIONS = st.builds(
    Evaluated,
    time=ANY,
    step=st.integers(-(2**63), 2**63 - 1),
    eval_loss=st.none() | ANY,
    perplexity=st.none(),
    supervised_tokens=st.just(1),
)
ODD_RUNS = st.lists(st.lists(ODD_STEPS | ODD_EVALUATIONS | st.integers(0, 50).map(step), max_size=12), max_size=3)


def smoothed(span: int, _: int, points: Points) -> Numbers:
    return smooth(points.y, span)


@settings(deadline=None, max_examples=60, phases=[Phase.reuse, Phase.generate])  # to shrink one takes minutes
@given(ODD_RUNS, st.none() | st.integers(0, 10**12), st.tuples(st.floats(0, 1), st.floats(0.01, 1)))
def test_logs_of_any_numbers_have_a_picture(
    runs: list[list[Step | Evaluated]], total: int | None, part: tuple[float, float]
) -> None:
    """Damaged or hostile ones: what is drawn is finite and lies within the limits, and there is always a word on it."""
    snapshots = [RunSnapshot(events) for events in runs]
    series = [Series("a run", run.curve, run.evaluations) for run in snapshots]
    for metric, along, logarithmic in product(Metric, XAxis, (False, True)):
        view = ChartView(metric, along, logarithmic, smoothing=len(SMOOTHING) - 1)
        begin, end = ChartContents(series, total, view).everything
        assert begin < end < math.inf
        for window in (None, (begin + part[0] * (end - begin), begin + (part[0] + part[1]) * (end - begin))):
            view.window, view.cursor = window, end / 2
            shown = ChartContents(series, total, view)
            curves = shown.curves(partial(smoothed, shown.span))
            picture = shown.picture(curves, WIDTH, str)
            (left, right), (low, high) = picture.x_limits, picture.y_limits
            assert left < right and low < high and math.isfinite(low) and math.isfinite(high)
            for item in (*picture.lines, *picture.marks):
                assert np.isfinite(item.x).all() and np.isfinite(item.y).all()
                assert ((item.x >= left) & (item.x <= right)).all()
            assert title(shown, str).plain and readings(shown, curves, end / 2, str).plain and why_empty(shown)


def test_line_ends_where_the_window_does() -> None:
    run = RunSnapshot([step(number, loss=float(number)) for number in range(1, 101)])
    shown = ChartContents([Series("a run", run.curve)], 100, ChartView(smoothing=0, window=(10.5, 20.25)))
    (line,) = shown.picture(shown.curves(lambda _, points: points.y), WIDTH, str).lines
    assert (line.x[0], line.x[-1]) == (10.5, 20.25)
    assert (line.y[0], line.y[-1]) == (10.5, 20.25)


def test_bins_of_a_picture_stay_while_the_run_goes_on() -> None:
    run = RunSnapshot([step(number, loss=math.sin(number)) for number in range(1, 5001)])
    series = [Series("a run", run.curve)]

    def drawn() -> list[tuple[float, float]]:
        shown = ChartContents(series, 10_000, ChartView(smoothing=0))
        (line,) = shown.picture(shown.curves(lambda _, points: points.y), WIDTH, str).lines
        return list(zip(line.x.tolist(), line.y.tolist(), strict=True))

    before = drawn()
    for number in range(5001, 5301):
        run.apply(step(number, loss=math.sin(number)))
    assert drawn()[: len(before) - 2] == before[:-2]


def test_window_on_a_single_x_has_a_width() -> None:
    """As where no step is: along another axis its ends both fall on the last step."""
    runs = [Series("a run", RunSnapshot([step(1), step(2)]).curve) for _ in range(2)]
    contents = ChartContents(runs, 2, ChartView(smoothing=0, window=(2.0, 2.0)))
    data = contents.picture(contents.curves(lambda _, points: points.y), WIDTH, str)
    assert data.x_limits[0] < 2.0 < data.x_limits[1]

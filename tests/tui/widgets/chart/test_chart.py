from __future__ import annotations

import math
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise

import numpy as np
import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Static
from textual_hires_canvas import Canvas, HiResMode

from engine.runs.events import AnyEvent, Evaluated
from engine.runs.snapshot import RunSnapshot
from tests.support.steps import step
from tui.widgets.chart import contents
from tui.widgets.chart.canvas import BrailleCanvas
from tui.widgets.chart.chart import MARKS, CurveChart, Metric, Series
from tui.widgets.chart.plot import LEFT, LOST, RIGHT, CurvePlot, PlotData

STEPS = 200


class ChartApp(App[None]):
    def compose(self) -> ComposeResult:
        yield CurveChart()


ChartPilot = Pilot[None]
Charted = Callable[..., AbstractAsyncContextManager[ChartPilot]]


@pytest.fixture
def charted() -> Charted:
    """A chart alone on a screen: `async with charted(series, ..., total=200, size=(80, 24)) as pilot`."""

    @asynccontextmanager
    async def opened(
        *series: Series, total: int | None = None, size: tuple[int, int] = (80, 24)
    ) -> AsyncIterator[ChartPilot]:
        async with ChartApp().run_test(size=size) as pilot:
            chart(pilot).show(series, total)
            chart(pilot).view.smoothing = 0
            await pilot.press("0")
            await pilot.pause()
            yield pilot

    return opened


def chart(pilot: ChartPilot) -> CurveChart:
    return pilot.app.query_one(CurveChart)


def cells(pilot: ChartPilot) -> list[str]:
    """The whole plot, line by line."""
    return ["".join(row) for row in pilot.app.query_one(CurvePlot)._buffer]


def rows(pilot: ChartPilot) -> list[str]:
    """The frame and what is in it, line by line."""
    return [row[LEFT : len(row) - RIGHT] for row in cells(pilot)[:-1]]


def data(pilot: ChartPilot) -> PlotData:
    """What was drawn last."""
    drawn = pilot.app.query_one(CurvePlot).data
    assert drawn is not None
    return drawn


def line(pilot: ChartPilot) -> str:
    """What the chart says above the curves."""
    return str(pilot.app.query_one(CurvePlot).caption)


def why_empty(pilot: ChartPilot) -> str:
    note = pilot.app.query_one(".chart-empty", Static)
    return str(note.content) if note.display else ""


def drawn(pilot: ChartPilot) -> list[tuple[float, float]]:
    """The points of the first line."""
    points = data(pilot).lines[0]
    return list(zip(points.x.tolist(), points.y.tolist(), strict=True))


def x_limits(pilot: ChartPilot) -> tuple[float, float]:
    return data(pilot).x_limits


def x_labels(pilot: ChartPilot) -> list[str]:
    return cells(pilot)[-1].split()


def y_labels(pilot: ChartPilot) -> list[str]:
    """From the lowest to the highest."""
    return [label for row in reversed(cells(pilot)[:-1]) if (label := row[:LEFT].strip())]


def run_of(said: Sequence[AnyEvent], label: str = "a run") -> Series:
    run = RunSnapshot(said)
    return Series(label, run.curve, run.evaluations)


def a_run(label: str = "a run", first: float = 3.0, steps: int = STEPS) -> Series:
    """Losses fall in a straight line to 1; a step takes 2 seconds."""
    losses = np.linspace(first, 1.0, steps).tolist()
    return run_of([step(number, loss=loss, seconds=2.0) for number, loss in enumerate(losses, 1)], label)


def evaluated(number: int, loss: float | None) -> Evaluated:
    return Evaluated(time=1.0, step=number, eval_loss=loss, perplexity=None, supervised_tokens=1)


@pytest.fixture
def painted_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every row of the plot that is painted from now on."""
    painted: list[int] = []
    paint = CurvePlot.render_line

    def noted(plot: CurvePlot, y: int) -> Strip:
        painted.append(y)
        return paint(plot, y)

    monkeypatch.setattr(CurvePlot, "render_line", noted)
    return painted


# what is shown


async def test_chart_shows_the_curve_its_axes_and_what_it_is(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        assert line(pilot) == "train loss"
        assert (drawn(pilot)[0], drawn(pilot)[-1]) == ((1.0, 3.0), (200.0, 1.0))
        assert y_labels(pilot) == ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5"]
        assert x_labels(pilot) == ["0", "50", "100", "150", "200"]
        assert any("⠀" < character <= "⣿" for row in rows(pilot) for character in row)


async def test_eval_losses_stand_among_the_train_losses(charted: Charted) -> None:
    run = run_of([evaluated(0, 3.5), *(step(number) for number in range(1, 11)), evaluated(10, 2.0)])
    async with charted(run, total=10) as pilot:
        assert sum(row.count("●") for row in rows(pilot)) == 2


async def test_metric_key_goes_through_all_and_back(charted: Charted) -> None:
    run = run_of([*(step(number, seconds=0.5) for number in range(1, 11)), evaluated(10, 2.0)])
    async with charted(run, total=10) as pilot:
        seen = []
        for _ in Metric:
            seen.append((line(pilot), drawn(pilot)[-1]))
            await pilot.press("m")
        assert [name for name, _ in seen] == [
            *("train loss", "eval loss", "learning rate", "gradient norm", "tokens/s", "peak memory in GiB")
        ]
        assert [last for _, (_, last) in seen] == pytest.approx([1.0, 2.0, 1e-4, 0.5, 200.0, 1.0], rel=1e-6)
        assert line(pilot) == "train loss"
        await pilot.press("M")
        assert line(pilot) == "peak memory in GiB"


async def test_x_key_goes_from_steps_to_epochs_to_time_and_keeps_what_is_looked_at(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press("G", "plus")
        low, high = x_limits(pilot)
        await pilot.press("i")
        assert line(pilot) == "train loss  1.0000  step 200 · epoch 20.00"
        assert x_limits(pilot) == pytest.approx((low / 10, high / 10))
        await pilot.press("i")
        assert line(pilot) == "train loss  1.0000  step 200 · 6m40s"
        assert x_limits(pilot) == pytest.approx((2 * low, 2 * high))
        await pilot.press("i", "0", "i", "i")
        assert line(pilot) == "train loss · by time"
        assert x_labels(pilot) == ["0", "2m", "4m", "6m"]


async def test_time_leaves_room_for_the_steps_that_are_ahead(charted: Charted) -> None:
    async with charted(a_run(steps=100), total=200) as pilot:
        await pilot.press("i", "i")
        assert x_limits(pilot) == (0.0, 400.0)


async def test_log_key_draws_logarithms_and_labels_values(charted: Charted) -> None:
    run = run_of([step(number, loss=10.0 ** (number - 1)) for number in range(1, 5)])
    async with charted(run, total=4) as pilot:
        await pilot.press("o")
        assert [y for _, y in drawn(pilot)] == pytest.approx([0, 1, 2, 3])
        assert [label for label in y_labels(pilot) if label in ("1", "10", "100", "1k")] == ["1", "10", "100", "1k"]
        assert line(pilot) == "train loss · log scale"
        await pilot.press("o")
        assert [y for _, y in drawn(pilot)] == pytest.approx([1, 10, 100, 1000])


async def test_brackets_smooth_more_and_less_over_the_curve_as_it_is(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        assert len(data(pilot).lines) == 1
        spans = []
        for _ in range(7):
            await pilot.press("right_square_bracket")
            spans.append(line(pilot).removeprefix("train loss · smoothed over ").removesuffix(" steps"))
        assert spans == ["2", "2", "2", "10", "20", "20", "20"]
        raw, smoothed = data(pilot).lines
        assert (raw.y[-1], smoothed.y[-1] > 1.05) == (1.0, True)
        await pilot.press(*["left_square_bracket"] * 7)
        assert line(pilot) == "train loss"


async def test_learning_rate_is_not_smoothed(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press(*["right_square_bracket"] * 7, "m", "m")
        assert line(pilot) == "learning rate"


# where one looks


async def test_zoom_halves_what_is_shown_about_its_middle_and_back(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press("plus")
        assert x_limits(pilot) == (50.0, 150.0)
        assert drawn(pilot)[0][0] == 50.0 and drawn(pilot)[-1][0] == 150.0
        await pilot.press("equals_sign")
        assert x_limits(pilot) == (75.0, 125.0)
        await pilot.press("minus")
        assert x_limits(pilot) == (50.0, 150.0)
        await pilot.press("minus", "minus")
        assert x_limits(pilot) == (0.0, 200.0)


async def test_zoom_ends_at_a_few_steps(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press(*["plus"] * 20)
        low, high = x_limits(pilot)
        assert high - low == 8.0


async def test_zoom_fits_the_values_to_what_is_shown(charted: Charted) -> None:
    run = run_of([step(number, loss=100.0 if number < 10 else 1.0 + number / 1000) for number in range(1, 201)])
    async with charted(run, total=STEPS) as pilot:
        await pilot.press("plus")
        assert float(y_labels(pilot)[-1]) < 2


@pytest.mark.parametrize(("left", "right"), [("H", "L"), ("shift+left", "shift+right")])
async def test_pan_moves_by_a_quarter_and_stops_at_the_ends(charted: Charted, left: str, right: str) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press(right)
        assert x_limits(pilot) == (0.0, 200.0)
        await pilot.press("plus", right)
        assert x_limits(pilot) == (75.0, 175.0)
        await pilot.press(right, right, right)
        assert x_limits(pilot) == (100.0, 200.0)
        await pilot.press(*[left] * 9)
        assert x_limits(pilot) == (0.0, 100.0)


async def test_zero_shows_everything_again_without_cursor(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press("plus", "h")
        assert line(pilot) != "train loss"
        await pilot.press("0")
        assert (x_limits(pilot), line(pilot)) == ((0.0, 200.0), "train loss")


async def test_full_screen_and_out_again(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        for out in ("escape", "f"):
            await pilot.press("f")
            assert pilot.app.screen.maximized is chart(pilot)
            await pilot.press(out)
            assert pilot.app.screen.maximized is None


# the cursor


@pytest.mark.parametrize(("left", "right", "first", "last"), [("h", "l", "g", "G"), ("left", "right", "home", "end")])
async def test_cursor_reads_the_values_along_the_curve(
    charted: Charted, left: str, right: str, first: str, last: str
) -> None:
    """70 columns are 200 steps: a column is three, or the next value."""
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press(left)
        assert line(pilot) == "train loss  1.0000  step 200"
        assert any("│" in row for row in rows(pilot)[1:-1])
        await pilot.press(left)
        assert line(pilot) == "train loss  1.0302  step 197"
        await pilot.press(right)
        assert line(pilot) == "train loss  1.0000  step 200"
        await pilot.press(first)
        assert line(pilot) == "train loss  3.0000  step 1"
        await pilot.press(left)
        assert line(pilot) == "train loss  3.0000  step 1"
        await pilot.press(last)
        assert line(pilot) == "train loss  1.0000  step 200"


async def test_zoom_goes_to_the_cursor_and_the_cursor_takes_the_picture_along(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press("g", *["plus"] * 9)
        assert x_limits(pilot) == pytest.approx((1.0, 9.0), abs=0.2)
        await pilot.press(*["l"] * 10)
        assert line(pilot).endswith("step 11")
        low, high = x_limits(pilot)
        assert low <= 11 <= high


async def test_thousands_are_set_apart_and_smoothed_values_stand_in_brackets(charted: Charted) -> None:
    run = run_of([step(number, tokens=12_345, seconds=0.5) for number in range(1, 2001)])
    async with charted(run, total=2000) as pilot:
        await pilot.press("G", "M", "M")
        assert line(pilot) == "tokens/s  24,690  step 2,000"
        await pilot.press("right_square_bracket", "right_square_bracket")
        assert line(pilot) == "tokens/s  24,690 (24,690)  step 2,000"
        await pilot.press("M", "M")
        assert line(pilot) == "learning rate  1.00e-04  step 2,000"
        await pilot.press("M", "M", "M")
        assert line(pilot) == "peak memory  1.00 GiB  step 2,000"


async def test_line_is_not_written_anew_when_it_says_the_same(
    charted: Charted, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        await pilot.press("G")
        written: list[object] = []
        monkeypatch.setattr(Static, "update", lambda *args, **kwargs: written.append(args))
        await pilot.press("l", "l", "l")
        assert written == []


async def test_mouse_places_the_cursor_and_zooms(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        plane = pilot.app.query_one(CurvePlot).plane
        middle = (plane.x + plane.width // 2, plane.y + plane.height // 2)
        await pilot.click(CurvePlot, offset=middle)
        assert 95 <= (chart(pilot).view.cursor or 0) <= 105
        await pilot._post_mouse_events([events.MouseScrollUp], CurvePlot, offset=middle, button=0)
        await pilot.pause()
        low, high = x_limits(pilot)
        assert high - low == pytest.approx(100.0) and low < 100 < high
        await pilot._post_mouse_events([events.MouseScrollDown], CurvePlot, offset=middle, button=0)
        await pilot.pause()
        assert x_limits(pilot) == (0.0, 200.0)


# several runs


async def test_several_runs_are_told_apart_without_colour(charted: Charted) -> None:
    runs = [a_run("one", 3.0), a_run("two", 4.0), a_run("[b]three", 5.0, steps=100)]
    async with charted(*runs) as pilot:
        assert line(pilot) == "train loss  ● one  ▲ two  ■ [b]three"
        picture = "".join(rows(pilot))
        assert all(picture.count(mark) >= 3 for mark in "●▲■")
        await pilot.press("G", "h")
        assert line(pilot) == "train loss  ● one 1.0302  ▲ two 1.0452  ■ [b]three –  step 197"
        await pilot.press("g")
        assert line(pilot) == "train loss  ● one 3.0000  ▲ two 4.0000  ■ [b]three 5.0000  step 1"


async def test_eval_losses_of_several_runs_have_the_hollow_marks_of_their_lines(charted: Charted) -> None:
    runs = [run_of([step(1), step(2), evaluated(1, loss)], f"run {loss}") for loss in (2.0, 3.0)]
    async with charted(*runs) as pilot:
        assert [sum(row.count(mark) for row in rows(pilot)) for mark in "○△"] == [1, 1]


def test_no_two_of_many_runs_have_the_same_mark() -> None:
    assert len({contents.mark_of(number) for number in range(20)}) == 20
    assert len(contents.HELD_OUT_MARKS) == len(MARKS)


async def test_control_characters_of_a_label_do_not_reach_the_terminal(charted: Charted) -> None:
    async with charted(a_run("one"), a_run("\x1b[2Jtwo\n")) as pilot:
        assert "\x1b" not in line(pilot) and "\n" not in line(pilot)


# what is missing


async def test_losses_that_are_no_number_are_told_and_marked(charted: Charted) -> None:
    taken: list[AnyEvent] = [
        step(number, loss=None if number in (50, 100, 101, 150) else 1.0) for number in range(1, 201)
    ]
    async with charted(run_of(taken), total=STEPS) as pilot:
        assert line(pilot) == "train loss\n× 4 not finite: step 50, 100, 101 …"
        assert rows(pilot)[-1].count(LOST) == 3  # 100 and 101 share a column
        chart(pilot).show([a_run("one"), run_of(taken, "two")], STEPS)
        assert line(pilot) == "train loss  ● one  ▲ two\n× ▲ 4 not finite: step 50, 100, 101 …"
        await pilot.press("m", "m")
        assert LOST not in "".join(rows(pilot))


@pytest.mark.parametrize(
    ("said", "keys", "words"),
    [
        ([], [], "no step yet"),
        ([step(1)], ["m"], "not evaluated yet"),
        ([step(1, loss=None)], [], "no finite train loss"),
        ([step(1, loss=0.0)], ["o"], "no value above 0, so no logarithmic scale: o goes back"),
        ([step(1, loss=0.0, grad_norm=None)], ["m", "m", "m"], "no finite gradient norm"),
    ],
)
async def test_empty_chart_says_why(charted: Charted, said: list[AnyEvent], keys: list[str], words: str) -> None:
    async with charted(run_of(said), total=10) as pilot:
        await pilot.press(*keys, "h", "plus", "L", "i")
        assert why_empty(pilot) == words
        chart(pilot).show([a_run()], STEPS)
        chart(pilot).view.metric = Metric.TRAIN_LOSS
        await pilot.press("0")
        assert why_empty(pilot) == ""


async def test_memory_that_no_step_has_says_so(charted: Charted) -> None:
    run = a_run()
    run.curve.memory_bytes[:] = array("f", [math.nan] * STEPS)
    async with charted(run, total=STEPS) as pilot:
        await pilot.press("M")
        assert why_empty(pilot) == "no GPU memory was recorded: only training on a GPU uses it"


async def test_part_without_values_says_how_to_get_back(charted: Charted) -> None:
    async with charted(a_run(steps=50), total=STEPS) as pilot:
        await pilot.press("plus", "L", "L", "L")
        assert why_empty(pilot) == "no values in this part: 0 shows everything"


async def test_other_run_is_shown_whole_and_without_cursor(charted: Charted) -> None:
    runs = [a_run("one"), a_run("two")]
    async with charted(runs[0], total=STEPS) as pilot:
        await pilot.press("plus", "h")
        chart(pilot).show(runs, STEPS)
        assert x_limits(pilot) == (50.0, 150.0)  # it is still there
        chart(pilot).show([a_run("three")], STEPS)
        assert (x_limits(pilot), line(pilot)) == ((0.0, 200.0), "train loss")


# a slow line


async def test_step_more_changes_only_the_cells_about_it(charted: Charted) -> None:
    run = a_run(steps=150)
    run.curve.losses[0] = 1.0
    async with charted(run, total=STEPS) as pilot:
        before, labels = rows(pilot), y_labels(pilot)
        for number in range(151, 156):
            run.curve.append(step(number, loss=1.2))
        chart(pilot).show([run], STEPS)
        after = rows(pilot)
        changed = {x for old, new in zip(before, after, strict=True) for x in range(len(old)) if old[x] != new[x]}
        assert changed and max(changed) - min(changed) <= 4
        assert y_labels(pilot) == labels


async def test_no_news_draw_nothing(charted: Charted, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run()
    async with charted(run, total=STEPS) as pilot:
        draws: list[CurvePlot] = []
        monkeypatch.setattr(CurvePlot, "redraw", lambda plot: draws.append(plot))
        chart(pilot).show([run], STEPS)
        assert not draws


# the library beneath


def test_library_still_has_the_private_names_that_are_used() -> None:
    assert {"_buffer", "_styles", "_canvas_size"} <= set(vars(Canvas()))


@pytest.mark.parametrize(
    "points",
    [
        [(0.0, 0.0), (8.9, 0.0)],
        [(3.2, 0.1), (3.2, 3.9)],
        [(0.0, 0.0), (4.75, 2.375)],
        [(0.0, 0.0), (5.0, 0.0), (5.0, 4.0), (1.0, 4.0)],
    ],
)
def test_curve_is_drawn_as_the_library_draws_lines(points: list[tuple[float, float]]) -> None:
    ours, theirs = BrailleCanvas(10, 5), Canvas(10, 5)
    x, y = zip(*points, strict=True)
    ours.draw_curve(np.array(x), np.array(y), "red")
    segments = [(*begin, *end) for begin, end in pairwise(points)]
    theirs.draw_hires_lines(segments, HiResMode.BRAILLE, "red")
    assert (ours._buffer, ours._styles) == (theirs._buffer, theirs._styles)


def test_what_lies_outside_the_canvas_is_not_drawn() -> None:
    ours = BrailleCanvas(4, 2)
    ours.draw_curve(np.array([-3.0, 2.0, 9.0]), np.array([-1.0, 1.0, 5.0]), "red")
    assert len(ours._buffer) == 2 and all(len(row) == 4 for row in ours._buffer)
    assert any(cell != " " for row in ours._buffer for cell in row)


# what it costs


@pytest.mark.painted
async def test_one_more_point_repaints_only_the_rows_that_it_changes(charted: Charted, painted_rows: list[int]) -> None:
    taken = [step(number, loss=3.0 - number / STEPS) for number in range(1, STEPS + 1)]
    async with charted(run_of(taken), total=2 * STEPS) as pilot:
        before = cells(pilot)
        painted_rows.clear()
        chart(pilot).show([run_of([*taken, step(STEPS + 1, loss=2.5)])], 2 * STEPS)
        await pilot.pause()
        changed = [y for y, (old, new) in enumerate(zip(before, cells(pilot), strict=True)) if old != new]
        assert sorted(painted_rows) == changed
        assert len(changed) < len(before) / 2


async def test_readings_of_another_length_lay_nothing_out(charted: Charted) -> None:
    async with charted(a_run(), total=STEPS) as pilot:
        layouts: list[object] = []
        pilot.app.screen.screen_layout_refresh_signal.subscribe(chart(pilot), layouts.append)
        await pilot.press("g")
        await pilot.pause()
        assert line(pilot) == "train loss  3.0000  step 1"
        await pilot.press("G")
        await pilot.pause()
        assert line(pilot) == "train loss  1.0000  step 200"
        assert chart(pilot).query_one(CurvePlot).render_line(0).text[LEFT + 2 :].startswith(f" {line(pilot)} ")
        assert not layouts

"""The texts of a chart: its title with the legend, the values under the cursor, and why it is empty."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from engine.runs.chart_series import Metric, XAxis, nearest
from engine.text.humanize import format_duration
from tui.terminal.console import clean_line
from tui.widgets.chart.axes import write_number
from tui.widgets.chart.contents import ChartContents, SmoothedCurve, Styles, colour_of, mark_of
from tui.widgets.chart.plot import LOST

NAMED_STEPS = 3
NEVER_RECORDED = {
    Metric.EVAL_LOSS: "not evaluated yet",
    Metric.MEMORY: "no GPU memory was recorded: only training on a GPU uses it",
}


def why_empty(contents: ChartContents) -> str:
    """Say why there is nothing to draw, and what to do about it."""
    metric = contents.view.metric
    if metric is not Metric.EVAL_LOSS and not any(len(item.curve) for item in contents.series):
        return "no step yet"
    if any(len(points.x) for points in contents.points):
        return "no values in this part: 0 shows everything"
    if contents.view.logarithmic and any(len(points.x) for points in contents.points_of_metric()):
        return "no value above 0, so no logarithmic scale: o goes back"
    return NEVER_RECORDED.get(metric, f"no finite {metric.value}")


def title(contents: ChartContents, style: Styles) -> Content:
    """Return the metric, the legend of several runs, and the steps whose values are not finite."""
    view, span = contents.view, contents.span
    words = [view.metric.value + (" in GiB" if view.metric is Metric.MEMORY else "")]
    words += ["log scale"] if view.logarithmic else []
    words += [f"smoothed over {write_number(span, span)} steps"] if span > 1 else []
    words += [f"by {view.along.value}"] if view.along is not XAxis.STEP else []
    many = len(contents.series) > 1
    names = [_name(contents, number, style) for number in range(len(contents.series))] if many else []
    lost = [
        Content.styled(f"{LOST} {mark_of(number) + ' ' if many else ''}{_tell_lost(points.lost)}", style("lost"))
        for number, points in enumerate(contents.points)
        if points.lost
    ]
    lines = [[Content(" · ".join(words)), *names], lost]
    return Content("\n").join(Content("  ").join(parts) for parts in lines if parts)


def readings(contents: ChartContents, curves: Sequence[SmoothedCurve], x: float, style: Styles) -> Content:
    """Return the values of all runs at `x`, each followed by the smoothed one in brackets."""
    metric = contents.view.metric
    parts = [Content(metric.value)]
    for number, (points, line) in enumerate(curves):
        value = "–"
        if len(points.x) and points.x[0] <= x <= points.x[-1]:
            index = nearest(points.x, x)
            value = _write(metric, float(points.y[index]))
            value += f" ({_write(metric, float(line[index]))})" if line is not points.y else ""
        parts.append(_name(contents, number, style) + f" {value}" if len(curves) > 1 else Content(value))
    longest = contents.longest
    if len(longest.x):
        index = nearest(longest.x, x)
        parts.append(Content(_where(contents.view.along, int(longest.steps[index]), float(longest.x[index]))))
    return Content("  ").join(parts)


def _name(contents: ChartContents, number: int, style: Styles) -> Content:
    label = clean_line(contents.series[number].label)
    return Content.assemble((mark_of(number), style(colour_of(number))), " ", Content(label))


def _tell_lost(steps: Sequence[int]) -> str:
    """Return a sentence such as `3 not finite: step 4, 5, 9`."""
    named = ", ".join(f"{step:,}" for step in steps[:NAMED_STEPS])
    return f"{len(steps):,} not finite: step {named}" + (" …" if len(steps) > NAMED_STEPS else "")


def _where(along: XAxis, step: int, x: float) -> str:
    match along:
        case XAxis.EPOCH:
            return f"step {step:,} · epoch {x:,.2f}"
        case XAxis.TIME:
            return f"step {step:,} · {format_duration(x)}"
    return f"step {step:,}"


def _write(metric: Metric, value: float) -> str:
    match metric:
        case Metric.LEARNING_RATE:
            return f"{value:.2e}"
        case Metric.TOKENS_PER_SECOND:
            return f"{value:,.0f}"
        case Metric.MEMORY:
            return f"{value:,.2f} GiB"
    return f"{value:,.4f}"

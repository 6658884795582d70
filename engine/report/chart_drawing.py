"""Drawing of curves with matplotlib, readable in black and white and with colour blindness."""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from engine.report.chart_client import ChartFile, ChartRequest
from engine.runs.chart_series import (
    NOISY,
    Metric,
    Points,
    Series,
    XAxis,
    bin_width,
    keep_extremes,
    points_of,
    smooth,
    x_of_steps,
)
from engine.runs.run_tail import RunTail
from engine.runs.snapshot import RunSnapshot
from engine.text.humanize import name_rounds
from engine.text.sanitize import clean_line

# Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/, without the yellow, which paper loses
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
UNITS = {
    Metric.TRAIN_LOSS: "nats per token", Metric.EVAL_LOSS: "nats per held-out token",
    Metric.LEARNING_RATE: "learning rate", Metric.GRAD_NORM: "2-norm before clipping",
    Metric.TOKENS_PER_SECOND: "tokens per second", Metric.MEMORY: "GiB",
}  # fmt: skip
SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 9.0, "axes.grid": True, "grid.alpha": 0.3, "grid.linewidth": 0.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10.0, "axes.unicode_minus": False,
    "lines.linewidth": 1.3, "lines.markersize": 4.0, "legend.frameon": False,
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.fonttype": "none",  # letters stay letters: found, copied, and of any script
    "svg.hashsalt": "loratui",  # the same curves are the same bytes
    "figure.dpi": 100.0, "savefig.dpi": 160.0,
}  # fmt: skip
WIDE_SCRIPTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Droid Sans Fallback")  # for a PNG
WIDTH, PANEL_HEIGHT, LEGEND_HEIGHT = 10.0, 2.7, 0.22  # inches
POINTS = 400  # about as many bins as a panel has pixels
FEW = 4  # runs, whose values as measured do not hide each other
AS_MEASURED: dict[str, Any] = {"alpha": 0.2, "linewidth": 0.6, "zorder": 1.5}
SMOOTHED_OVER = 0.02  # of the steps, and not at all where that is fewer than two
LABEL_LETTERS = 60
NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # https://www.w3.org/TR/xml/#charsets


def draw_chart(request: ChartRequest) -> ChartFile:
    """Draw the file that `engine.report.chart_client` requests.

    Raises:
        OSError: a log cannot be read.
    """
    snapshots = [RunSnapshot(RunTail(Path(os.fsdecode(run.events))).poll()) for run in request.runs]
    series = [
        Series(plain(run.label), snapshot.curve, snapshot.evaluations)
        for run, snapshot in zip(request.runs, snapshots, strict=True)
    ]
    with_curve = [index for index, run_series in enumerate(series) if metrics_of([run_series])]
    curveless = tuple(index for index in range(len(series)) if index not in with_curve)
    if not with_curve:
        return ChartFile(b"", curveless)
    title = f"Curves of {name_rounds([request.runs[index].number for index in with_curve])}"
    return ChartFile(render(title, [series[index] for index in with_curve], request.format), curveless)


def plain(text: str) -> str:
    """Return `text` for a picture: one line, cleaned, with only the characters that XML allows, and not too long."""
    text = NO_XML.sub("\ufffd", clean_line(text))
    return text if len(text) <= LABEL_LETTERS else text[: LABEL_LETTERS - 1].rstrip() + "…"


def points_by_step(series: Series, metric: Metric) -> Points:
    """Return the points of a metric of a run against its optimizer steps."""
    return points_of(series, x_of_steps(series.curve, XAxis.STEP), metric, XAxis.STEP)


def metrics_of(series: Sequence[Series]) -> list[Metric]:
    """Return the metrics that any of the runs recorded."""
    return [metric for metric in Metric if any(len(points_by_step(run_series, metric).y) for run_series in series)]


def render(title: str, series: Sequence[Series], format_: str) -> bytes:
    """Return a file of that format as bytes. Equal curves give equal bytes."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        if format_ == "png":
            matplotlib.rcParams["font.family"] = ["DejaVu Sans", *_installed(WIDE_SCRIPTS)]
        out = io.BytesIO()
        metadata = {"Date": None, "Creator": "loratui", "Title": title} if format_ == "svg" else {"Software": None}
        figure_of(title, series).savefig(out, format=format_, metadata=metadata)
        return out.getvalue()


def _installed(families: Sequence[str]) -> list[str]:
    from matplotlib.font_manager import fontManager

    names = {font.name for font in fontManager.ttflist}
    return [family for family in families if family in names]


def figure_of(title: str, series: Sequence[Series]) -> Figure:
    """Draw one panel for each metric, two side by side, with a title above and a common legend below."""
    metrics = metrics_of(series)
    columns = min(2, len(metrics))
    rows = -(-len(metrics) // columns)
    legend_rows = -(-len(series) // 2)
    height = rows * PANEL_HEIGHT + 0.5 + legend_rows * LEGEND_HEIGHT
    figure = Figure(figsize=(WIDTH if columns == 2 else WIDTH / 1.6, height), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    for index, metric in enumerate(metrics):
        _draw_panel(figure.add_subplot(rows, columns, index + 1), metric, series)
    handles = [
        Line2D([], [], color=colour_of(index), linestyle=dashes_of(index), marker=MARKERS[index % len(MARKERS)])
        for index in range(len(series))
    ]
    figure.legend(
        handles,
        [item.label for item in series],
        loc="outside lower center",
        ncols=min(2, len(series)),
        handlelength=4.0,
    )
    return figure


def colour_of(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def dashes_of(index: int) -> Any:
    """Return matplotlib's name of a line style, or its dashes and gaps in points."""
    return DASHES[index % len(DASHES)]


def _draw_panel(axes: Axes, metric: Metric, series: Sequence[Series]) -> None:
    smoothed = lost = False
    for index, item in enumerate(series):
        points = points_by_step(item, metric)
        if points.lost:
            lost = True
            bottom = axes.get_xaxis_transform()
            at = [0.0] * len(points.lost)
            axes.plot(points.lost, at, "x", color=colour_of(index), transform=bottom, clip_on=False)
        if not len(points.y):
            continue
        style: dict[str, Any] = {"color": colour_of(index), "linestyle": dashes_of(index)}
        name = f"{metric.value.replace(' ', '-').replace('/', '-')}-{index + 1}"
        if metric is Metric.EVAL_LOSS:
            marker = MARKERS[index % len(MARKERS)]
            axes.plot(points.x, points.y, marker=marker, gid=name, **style)
            continue
        span = round(SMOOTHED_OVER * len(points.y)) if metric in NOISY else 1
        if span > 1:
            smoothed = True
            if len(series) <= FEW:
                axes.plot(*_thinned(points), color=colour_of(index), gid=f"{name}-raw", **AS_MEASURED)
            points = _last_of_each_bin(points._replace(y=smooth(points.y, span)))
        axes.plot(*_thinned(points), gid=name, **style)
    title = [metric.value]
    if smoothed:
        title[0] += f", smoothed over {SMOOTHED_OVER:.0%} of the steps"
        title += ["pale: raw"] * (len(series) <= FEW)
    if lost:
        title.append("×: not finite")
    axes.set_title("; ".join(title), loc="left")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(UNITS[metric])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
    if metric is Metric.LEARNING_RATE:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    elif metric in (Metric.TOKENS_PER_SECOND, Metric.MEMORY):
        axes.set_ylim(bottom=0)


def _thinned(points: Points) -> Iterator[np.ndarray[tuple[int], np.dtype[np.floating]]]:
    """Yield x and y of the points that are visible: the extremes of each bin."""
    indices = keep_extremes(points.steps, points.y, bin_width(float(points.steps[-1]), POINTS))
    yield np.asarray(points.x[indices], np.float64)
    yield np.asarray(points.y[indices], np.float64)


def _last_of_each_bin(points: Points) -> Points:
    """Return the last smoothed value of each bin, without the first few, which are hardly smoothed."""
    width = bin_width(float(points.steps[-1]), POINTS)
    return points.only(np.arange(len(points.y)) % width == width - 1) if width < len(points.y) else points

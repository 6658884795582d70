"""A small chart of the best perplexity of a sweep after each finished setting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget

from tui.widgets.chart.axes import Axis, StepAxis, limits_of, write_number
from tui.widgets.chart.plot import CurvePlot, PlotData, PlotMarks, PlotPoints

MARK = "●"
CAPTION = "best perplexity after each finished setting"


class BestChart(Widget):
    """The lowest perplexity so far, against the number of finished settings; a mark where it became lower."""

    DEFAULT_CSS = """
    BestChart { & > .best-chart--line { color: $text-success; } }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"best-chart--line"}

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._perplexities: Sequence[float] = ()

    def compose(self) -> ComposeResult:
        yield CurvePlot(self._plot_data)

    def on_mount(self) -> None:
        self.query_one(CurvePlot).say(Content(CAPTION))

    def show(self, perplexities: Sequence[float]) -> None:
        """Draw these, the first that of one finished setting, if they are others than before."""
        if perplexities != self._perplexities:
            self._perplexities = perplexities
            self.query_one(CurvePlot).redraw()

    def _plot_data(self, width: int) -> PlotData:
        y = np.array(self._perplexities, float)
        x = np.arange(1.0, len(y) + 1)
        lower = np.array([True, *(after < before for before, after in pairwise(self._perplexities))])[: len(y)]
        style = str(self.get_component_rich_style("best-chart--line", partial=True))
        stairs = PlotPoints(np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1], style)
        return PlotData(
            lines=[stairs], marks=[PlotMarks(x[lower], y[lower], style, MARK)],
            x_limits=(0.0, len(y) + 1.0), y_limits=limits_of(y, logarithmic=False),
            x_axis=StepAxis(write_number), y_axis=Axis(write_number),
            lost=(), lost_style="", cursor=None, cursor_style="",
        )  # fmt: skip

"""The loss curve of a run: every step's training loss, and the held-out loss where it was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from textual.app import ComposeResult
from textual.containers import Grid
from textual_plot import HiResMode, PlotWidget
from textual_plot.plot_widget import Legend

from engine.curve import Curve
from engine.events import Evaluated
from tui.theme import HELD_OUT_COLOUR, TRAIN_COLOUR
from tui.widgets.quiet_canvas import QuietCanvas

MAX_BINS = 500


class LossChart(PlotWidget):
    """Loss in nats per supervised token against the optimizer step."""

    def __init__(self, *, id: str | None = None) -> None:
        self._holding = False
        super().__init__(id=id, allow_pan_and_zoom=False)
        self.can_focus = False
        self._drawn: tuple[int, int] = (-1, -1)

    def compose(self) -> ComposeResult:
        """The parts of a PlotWidget, on canvases that repaint what changed."""
        with Grid():
            yield QuietCanvas(1, 1, id="margin-top")
            yield QuietCanvas(1, 1, id="margin-left")
            yield QuietCanvas(1, 1, id="plot")
            yield QuietCanvas(1, 1, id="margin-bottom")
        yield Legend(id="legend")

    def on_mount(self) -> None:
        self.margin_top, self.margin_bottom, self.margin_left = 0, 1, 6

    def show(self, curve: Curve, evaluations: Sequence[Evaluated], total_steps: int | None) -> None:
        """Draw anew, unless nothing has come since the last time."""
        state = (len(curve), len(evaluations))
        if state == self._drawn:
            return
        self._drawn = state
        self._holding = True
        self.clear()
        steps, losses = bin_curve(curve.steps, curve.losses, MAX_BINS)
        if steps:
            style = self.app.theme_variables[TRAIN_COLOUR]
            self.plot(steps, losses, line_style=style, hires_mode=HiResMode.BRAILLE)
        measured = {item.step: item.eval_loss for item in evaluations if item.eval_loss is not None}
        if measured:
            style = self.app.theme_variables[HELD_OUT_COLOUR]
            self.scatter(list(measured), list(measured.values()), marker="●", marker_style=style)
        self.set_xlimits(0, 1.02 * max(total_steps or 0, *steps[-1:], 1))  # the last point is not cut off
        self.set_ylimits(*_limits([*losses, *measured.values()]))
        self._holding = False
        self._rerender()

    def _rerender(self) -> None:
        """Once per `show`, and onto the canvases alone: `PlotWidget` repaints the whole plot at each change."""
        if self._holding:
            return
        if self._needs_canvas_resize or not self.is_attached:
            super()._rerender()
        else:
            self._render_plot()


def bin_curve(steps: Sequence[int], losses: Sequence[float], bins: int) -> tuple[list[float], list[float]]:
    """At most about `2 × bins` points of a curve that keep every spike: the least and the greatest loss of each bin.

    Losses that are no number are left out.
    """
    x, y = np.asarray(steps, float), np.asarray(losses, float)
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(y) > 2 * bins:
        width = math.ceil(len(y) / bins)
        parts = np.pad(y, (0, -len(y) % width), mode="edge").reshape(-1, width)
        begins = width * np.arange(len(parts))
        kept = np.unique([begins + parts.argmin(axis=1), begins + parts.argmax(axis=1)])
        x, y = x[kept], y[kept]
    return x.tolist(), y.tolist()


def _limits(losses: Sequence[float]) -> tuple[float, float]:
    """Axis limits at round numbers, so that they, and with them the whole picture, move seldom as losses come in."""
    if not losses:
        return 0.0, 1.0
    low, high = min(losses), max(losses)
    unit = _round_unit((high - low) / 4 or 0.1)
    return max(0.0, unit * math.floor(low / unit)), unit * (math.floor(high / unit) + 1)


def _round_unit(size: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most `size`."""
    power = 10.0 ** math.floor(math.log10(size))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= size)

"""The loss curve of a run: every step's training loss, and the held-out loss where it was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Grid
from textual_plot import HiResMode, PlotWidget
from textual_plot.plot_widget import Legend

from engine.events import Evaluated
from engine.snapshot import Curve
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
    points = [(float(step), loss) for step, loss in zip(steps, losses, strict=True) if math.isfinite(loss)]
    if len(points) <= 2 * bins:
        return [step for step, _ in points], [loss for _, loss in points]
    width = math.ceil(len(points) / bins)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), width):
        part = points[start : start + width]
        kept.extend(sorted({min(part, key=_loss), max(part, key=_loss)}))
    return [step for step, _ in kept], [loss for _, loss in kept]


def _loss(point: tuple[float, float]) -> float:
    return point[1]


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

"""The sample answers of a run, to scroll through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.events import Sampled
from engine.rounds import ACTIVE, Round
from tui.widgets.sample_table import sample_table


class SamplePane(VerticalScroll):
    """Each prompt with the base model's answer and the latest one beneath each other."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, tooltip="Further down, as the arrow key", id="samples.down"),
        Binding("k", "scroll_up", "Up", show=False, tooltip="Further up, as the arrow key", id="samples.up"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: tuple[int, str] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="sample-table", markup=False)

    def show(self, round_: Round, samples: Sequence[Sampled]) -> None:
        """Draw anew, unless nothing has come since the last time."""
        absence = "" if samples else _absence(round_)
        if self._shown == (len(samples), absence):
            return
        self._shown = len(samples), absence
        self.query_one("#sample-table", Static).update(absence or sample_table(samples))


def _absence(round_: Round) -> str:
    if round_.spec.train.sample_tokens == 0:
        return "This round makes no samples: its train.sample_tokens is 0."
    if round_.status in ACTIVE:
        return "No samples yet: they come after each evaluation, first of the base model."
    return "There are no samples of this round."

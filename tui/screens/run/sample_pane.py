"""The sample answers of a run, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.runs.events import Sampled
from engine.spec.round import ACTIVE, Round
from tui.views.samples import sample_table
from tui.widgets.key_scroll import KeyScroll
from tui.widgets.scroll_text import scroll_bindings

LATEST = None


class SamplePane(KeyScroll, VerticalScroll, can_focus=True, inherit_bindings=False):
    """Each prompt with the base model's answer and below it a later one: the latest, or the chosen one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left,h",
            "evaluation(-1)",
            "Earlier",
            tooltip="Show the answers of the evaluation before",
            id="samples.left",
        ),
        Binding(
            "right,l", "evaluation(1)", "Later", tooltip="Show the answers of the next evaluation", id="samples.right"
        ),
        Binding("a", "all", "All", tooltip="Show the answers of all evaluations, or of one", id="samples.all"),
        *scroll_bindings("samples", "To the first prompt", "To the last prompt"),
    ]
    DEFAULT_CSS = """
    SamplePane { border-top: solid $primary; padding: 0 1; background: $background; }
    SamplePane:focus { border-top: heavy $accent; }
    SamplePane #sample-which { height: 1; color: $text-muted; text-wrap: nowrap; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._samples: Sequence[Sampled] = ()
        self._step: int | None = LATEST
        self._all = False
        self._shown: object = None

    def compose(self) -> ComposeResult:
        yield Static(id="sample-which", markup=False)
        yield Static(id="sample-table", markup=False)

    def show(self, round_: Round, samples: Sequence[Sampled]) -> None:
        """Draw the samples if there are new ones."""
        absence = "" if samples else _absence(round_)
        state = (round_.id, len(samples), absence)
        if self._shown == state:
            return
        self._shown, self._samples = state, samples
        self._draw(absence)

    def _draw(self, absence: str = "") -> None:
        which = self.query_one("#sample-which", Static)
        which.display = not absence
        steps = self.steps
        if not absence:
            which.update(self._which(steps))
        chosen = [step for step in steps if step > 0] if self._all else [self.chosen] if steps else []
        self.query_one("#sample-table", Static).update(absence or sample_table(self._samples, chosen))
        self.refresh_bindings()

    def _which(self, steps: Sequence[int]) -> str:
        if len(steps) < 2:
            return "the base model's answers; more come after each evaluation"
        if self._all:
            return f"all {len(steps)} evaluations · a: one at a time"
        place = steps.index(self.chosen)
        return f"after step {self.chosen:,} · evaluation {place} of {len(steps) - 1} · ← → others · a: all"

    @property
    def steps(self) -> list[int]:
        """The steps after which there are answers, in order; 0 is the base model."""
        return sorted({sample.step for sample in self._samples})

    @property
    def chosen(self) -> int:
        """The step whose answers are shown beside the base model's."""
        steps = self.steps
        return self._step if self._step in steps else steps[-1]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if self.why_not(action, parameters) else True

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        """Return a sentence on why `action` cannot be done now; "" if it can."""
        if action == "all" and len(self.steps) < 2:
            return "there are no answers of several evaluations yet"
        if action != "evaluation":
            return ""
        steps = [step for step in self.steps if step > 0]
        if not steps:
            return "there are no answers of an evaluation yet"
        if self._all:
            return "the answers of all evaluations are shown"
        first = parameters == (-1,)
        at_edge = self.chosen == (steps[0] if first else steps[-1])
        return f"this is the {'first' if first else 'last'} evaluation" if at_edge else ""

    def action_evaluation(self, by: int) -> None:
        """Go to another evaluation; at the latest one, newer ones are shown as they come."""
        steps = [step for step in self.steps if step > 0]
        place = steps.index(self.chosen) + by
        if 0 <= place < len(steps):
            self._step = LATEST if place == len(steps) - 1 else steps[place]
            self._draw()

    def action_all(self) -> None:
        self._all = not self._all
        self._draw()


def _absence(round_: Round) -> str:
    if round_.spec.train.sample_tokens == 0:
        return "This round makes no samples: its train.sample_tokens is 0."
    if round_.status in ACTIVE:
        return "No samples yet: they come after each evaluation, first of the base model."
    return "This round has no samples."

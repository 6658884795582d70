"""The figures of a run: where it stands, and what it measured."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ProgressBar, Static

from engine.columns import format_loss, measured_text, not_finite
from engine.events import Evaluated
from engine.fields import format_value
from engine.rounds import ACTIVE, Round, Status
from engine.snapshot import RunSnapshot
from engine.units import format_bytes, format_count, format_duration, format_perplexity
from tui.plain import clean_line
from tui.theme import HELD_OUT_COLOUR, TRAIN_COLOUR
from tui.widgets.activity import activity


class RunHeader(Vertical):
    """Two lines: which round and what it does; and how far it is."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._said: list[str] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="run-title", markup=False)
        yield ProgressBar(id="run-progress", show_eta=False, show_percentage=False)
        yield Static(id="run-message", markup=False)

    def show(self, round_: Round, run: RunSnapshot, elapsed: float | None) -> None:
        """`elapsed` in seconds since the engine took the round up."""
        total = run.prepared.total_steps if run.prepared else round_.plan.total_steps
        step = run.last_step
        title = Text.assemble((f"Round {round_.number}", "bold"), f"  {clean_line(round_.name)}  ")
        title.append(activity(round_, run), "bold cyan" if round_.status is Status.RUNNING else "bold")
        if step is not None:
            share = f" ({100 * step.step // total} %)" if total else ""
            title.append(f"   step {step.step:,}" + (f"/{total:,}" if total else "") + share)
            title.append(f" · epoch {step.epoch:.2f}/{format_value(round_.spec.train.num_train_epochs)}")
        if elapsed is not None:
            title.append(f" · {format_duration(elapsed)}")
        remaining = run.remaining_seconds()
        if remaining is not None and round_.status in ACTIVE and run.ending is None:
            title.append(f", {format_duration(remaining)} left")
        self.query_one("#run-title", Static).update(title, layout=False)
        self.query_one(ProgressBar).update(total=total, progress=step.step if step else 0)
        imported = "imported: only its result is here, not its run" if round_.status is Status.IMPORTED else ""
        said = [clean_line(text) for text in (imported, round_.message or run.message, *run.warnings) if text]
        if said != self._said:
            self._said = said
            message = self.query_one("#run-message", Static)
            message.update(Text("\n".join(said), "bold yellow"))
            message.display = bool(said)


FIXED_LINES = 8
NO_NUMBER = "not a number"  # where a log of an earlier version has no flag to say which


class RunFigures(Static):
    """The numbers of the last step, and every evaluation."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)

    def show(self, round_: Round, run: RunSnapshot) -> None:
        step, rate = run.last_step, run.tokens_per_second()
        grad_norm = f"{step.grad_norm:.3f}" if step and step.grad_norm is not None else ""
        if step and not grad_norm:
            grad_norm = not_finite(step, "grad_norm") or NO_NUMBER
        text = Text.assemble(("loss ", "dim"), ("⠒⠒⠒", self._colour(TRAIN_COLOUR)), "      ")  # the curve's key
        text.append((measured_text(step, "loss") or NO_NUMBER) if step else "–")
        rows = [
            ("learning rate", f"{step.learning_rate:.2e}" if step else ""),
            ("grad norm", grad_norm),
            ("tokens/s", format_count(rate)),
            ("memory", format_bytes(step.memory_bytes) if step else ""),
        ]
        for name, value in rows:
            text.append(f"\n{name:<14}", "dim").append(value or "–")
        text.append("\nheld out ", "bold").append("●", self._colour(HELD_OUT_COLOUR))
        text.append(f"{'loss':>10}{'ppl':>8}", "dim")
        if not run.evaluations:
            text.append(_result_line(round_) or "\nnot yet measured", "dim")
        for item in self._shown(run.evaluations):
            name = "base" if item.step == 0 else f"step {item.step:,}"
            loss, perplexity = (measured_text(item, kind) or NO_NUMBER for kind in ("eval_loss", "perplexity"))
            text.append(f"\n{name:<12}{loss:>8}" + (f" {perplexity:>7}" if perplexity != loss else ""))
        if run.prepared is not None:
            trained, everything = run.prepared.trainable_parameters, run.prepared.parameters
            text.append(f"\ntrains {format_count(trained)} of {format_count(everything)}", "dim")
            text.append(f"\n{clean_line(run.prepared.dtype)} on {clean_line(run.prepared.device)}", "dim")
        self.update(text, layout=False)

    def _colour(self, name: str) -> str:
        return self.app.theme_variables[name]

    def _shown(self, evaluations: Sequence[Evaluated]) -> list[Evaluated]:
        """The first, which is the base model's, and as many of the last as there is room for."""
        room = max(2, self.size.height - FIXED_LINES)
        return [*evaluations[:1], *evaluations[1:][-(room - 1) :]]


def _result_line(round_: Round) -> str:
    """The result of a round that has no events to show it, such as an imported one."""
    result = round_.result
    if result.perplexity is None:
        return ""
    return f"\n{'result':<12}{format_loss(result.eval_loss):>8}{format_perplexity(result.perplexity):>8}"

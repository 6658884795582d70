"""The figures of a run: where it stands, and what it measured."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from engine.compare.columns import format_epochs, format_loss, measured_text, not_finite
from engine.runs.events import Evaluated
from engine.runs.snapshot import RunSnapshot
from engine.spec.held_out import holds_nothing_out
from engine.spec.plan import planned_epochs
from engine.spec.round import ACTIVE, Round, Status
from engine.text.humanize import format_bytes, format_count, format_duration, format_perplexity
from tui.settings.themes import HELD_OUT_COLOUR, TRAIN_COLOUR
from tui.terminal.console import clean_line
from tui.views.activity import activity

FIXED_LINES = 8
START_NAMES = {False: "base", True: "at start"}  # of an evaluation before the first step: is it the initial adapter's?
NO_NUMBER = "not a number"  # where a log of an earlier version has no flag to say which


class CachedText(Static):
    """A text that is drawn again only when it changes."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._text = ""

    def tell(self, text: Content, *, layout: bool = False) -> None:
        """Show `text`; with `layout`, its height may change."""
        if text.plain != self._text:
            self._text = text.plain
            self.update(text, layout=layout)


class RunBar(CachedText):
    """The progress of a run as a line, thick up to where it is; Textual's `ProgressBar` shows that by colour alone."""

    _share = 0.0

    def show(self, share: float) -> None:
        """Show that `share` of the run is done, between 0 and 1."""
        self._share = min(1.0, max(0.0, share))
        halves = round(2 * self._share * self.size.width)
        done = "━" * (halves // 2) + "╸" * (halves % 2)
        rest = "─" * (self.size.width - len(done))
        self.tell(Content.assemble((done, "$text-primary"), (rest, "$text-muted 50%")))

    def on_resize(self, event: Resize) -> None:
        self.show(self._share)


class RunHeader(Vertical):
    """Two lines: which round and what it does; and how far it is."""

    def compose(self) -> ComposeResult:
        yield CachedText(id="run-title")
        yield RunBar(id="run-progress")
        yield CachedText(id="run-message")

    def show(self, round_: Round, run: RunSnapshot, elapsed: float | None, warnings: Sequence[str] = ()) -> None:
        """Show the round; `elapsed` is in seconds since its start, `warnings` are added to the run's own."""
        total = run.prepared.total_steps if run.prepared else round_.plan.total_steps
        step = run.last_step
        title = self.query_one("#run-title", CachedText)
        title.tell(self._title(round_, run, total, elapsed, title.size.width or 78))
        self.query_one(RunBar).show(step.step / total if step is not None and total else 0.0)
        imported = "imported: only its result is stored, not its run" if round_.status is Status.IMPORTED else ""
        messages = dict.fromkeys([imported, round_.message or run.message, *warnings, *run.warnings])
        panel = self.query_one("#run-message", CachedText)
        text = "\n".join(clean_line(message) for message in messages if message)
        panel.display = bool(text)
        panel.tell(Content.styled(text, "bold $text-warning"), layout=True)

    def _title(self, round_: Round, run: RunSnapshot, total: int | None, elapsed: float | None, width: int) -> Content:
        """Return the first line; if it is too long, it lacks the share and the epoch, then the name is cut."""
        step, remaining = run.last_step, run.remaining_seconds()
        what = activity(round_, run)
        share = epoch = so_far = ""
        if step is not None:
            so_far = f"   step {step.step:,}" + (f"/{total:,}" if total else "")
            share = f" ({100 * step.step // total} %)" if total else ""
            epoch = f" · epoch {step.epoch:.2f}/{format_epochs(planned_epochs(round_.spec.train, round_.plan))}"
        time = f" · {format_duration(elapsed)}" if elapsed is not None else ""
        if remaining is not None and round_.status in ACTIVE and run.ending is None:
            time += f", {format_duration(remaining)} left"
        number, name = f"Round {round_.number}", clean_line(round_.name)
        room = width - sum(map(cell_len, (number, "    ", what, so_far, time)))
        figures = so_far + time
        if room - cell_len(name) >= len(share + epoch):
            figures = so_far + share + epoch + time
        elif room - cell_len(name) >= len(share):
            figures = so_far + share + time
        if cell_len(name) > room:
            name = set_cell_size(name, max(0, room - 1)).rstrip() + "…"
        look = "bold $text-primary" if round_.status is Status.RUNNING else "bold"
        return Content.assemble((number, "bold"), f"  {name}  " if name else "  ", (what, look), figures)


class RunFigures(CachedText):
    """The numbers of the last step, and every evaluation."""

    def show(self, round_: Round, run: RunSnapshot) -> None:
        """Show the figures of the run so far."""
        step, rate = run.last_step, run.tokens_per_second()
        grad_norm = f"{step.grad_norm:.3f}" if step and step.grad_norm is not None else ""
        if step and not grad_norm:
            grad_norm = not_finite(step, "grad_norm") or NO_NUMBER
        loss = (measured_text(step, "loss") or NO_NUMBER) if step else "–"
        lines = [Content.assemble(("loss ", "$text-muted"), ("⠒⠒⠒", f"${TRAIN_COLOUR}"), f"      {loss}")]  # its key
        rows = [
            ("learning rate", f"{step.learning_rate:.2e}" if step else ""),
            ("grad norm", grad_norm),
            ("tokens/s", format_count(rate)),
            ("memory", format_bytes(step.memory_bytes) if step else ""),
        ]
        lines += [Content.assemble((f"{name:<14}", "$text-muted"), value or "–") for name, value in rows]
        lines.append(
            Content.assemble(
                ("held out ", "bold"), ("●", f"${HELD_OUT_COLOUR}"), (f"{'loss':>10}{'ppl':>8}", "$text-muted")
            )
        )
        if not run.evaluations:
            unmeasured = "no rows are held out" if holds_nothing_out(round_.spec.data) else "not yet measured"
            lines.append(Content.styled(_result_line(round_) or unmeasured, "$text-muted"))
        for evaluation in self._shown(run.evaluations):
            name = f"step {evaluation.step:,}" if evaluation.step else START_NAMES[evaluation.initial_adapter]
            loss, perplexity = (measured_text(evaluation, kind) or NO_NUMBER for kind in ("eval_loss", "perplexity"))
            lines.append(Content(f"{name:<12}{loss:>8}" + (f" {perplexity:>7}" if perplexity != loss else "")))
        if run.prepared is not None:
            trained, everything = run.prepared.trainable_parameters, run.prepared.parameters
            line = f"trains {format_count(trained)} of {format_count(everything)}"
            lines.append(Content.styled(line, "$text-muted"))
            line = f"{clean_line(run.prepared.dtype)} on {clean_line(run.prepared.device)}"
            lines.append(Content.styled(line, "$text-muted"))
        self.tell(Content("\n").join(lines))

    def _shown(self, evaluations: Sequence[Evaluated]) -> list[Evaluated]:
        """Return the first, which is the base model's, and as many of the last as fit."""
        room = max(2, self.size.height - FIXED_LINES)
        return [*evaluations[:1], *evaluations[1:][-(room - 1) :]]


def _result_line(round_: Round) -> str:
    """Return the result of a round that has no events to show it, such as an imported one."""
    result = round_.result
    if result.perplexity is None:
        return ""
    return f"{'result':<12}{format_loss(result.eval_loss):>8}{format_perplexity(result.perplexity):>8}"

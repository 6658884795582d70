"""The details of the round under the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from engine.compare.columns import TEXT_SCORES, columns, format_interval, interval_of, measured_text
from engine.compare.comparability import INCOMPARABLE, numbers_by_reason
from engine.compare.extra_evaluations import EvaluationSummary, evaluation_cells
from engine.spec.fields import changed_keys, describe_value, flatten, format_value
from engine.spec.round import Round
from engine.text.humanize import format_bytes, format_count, format_duration, format_energy, name_rounds
from tui.terminal.console import clean, clean_line
from tui.views.prediction import prediction_in_words

if TYPE_CHECKING:
    from engine.preference.win_rate import WinRate

MUTED = "$text-muted"
REST_SECONDS = 0.15  # that the cursor rests on a round before more of it is read
MAX_KEPT_LINES = 10  # of the height that is kept; a round that needs more takes it from the table while it is shown


class RoundDetail(VerticalScroll, can_focus=False):
    """Note, changes against its parent, settings, result and other scores of one round."""

    class Rested(Message):
        """The cursor rested on a trained round: it is time to read its other evaluations. `id` is the round's."""

        def __init__(self, id: str) -> None:
            super().__init__()
            self.id = id

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._round: Round | None = None
        self._rounds: Mapping[int, Round] = {}
        self._unlike: Round | None = None
        self._evaluations: dict[str, Sequence[EvaluationSummary]] = {}
        self._preferences: Mapping[str, WinRate] = {}
        self._rest: Timer | None = None
        self._min_lines = 0

    def compose(self) -> ComposeResult:
        yield Static(id="detail", markup=False)

    def show(self, round_: Round | None, rounds: Mapping[int, Round], unlike: Round | None = None) -> None:
        """Show `round_`, or nothing.

        Args:
            rounds: by number; its parent is looked up there.
            unlike: a round that most others can be compared with and `round_` cannot.
        """
        self._round, self._rounds, self._unlike = round_, rounds, unlike
        self._show()
        if self._rest is not None:
            self._rest.stop()
        if round_ is not None and round_.result.adapter_dir is not None:
            self._rest = self.set_timer(REST_SECONDS, partial(self.post_message, self.Rested(round_.id)))

    def show_evaluations(self, id: str, evaluations: Sequence[EvaluationSummary]) -> None:
        """Add the scores of the round `id` on other data than its own."""
        if evaluations != self._evaluations.get(id, []):
            self._evaluations[id] = evaluations
            self._show()

    def show_preferences(self, rates: Mapping[str, WinRate]) -> None:
        """Add how often the answers of each round were preferred in blind tests, by its id."""
        if rates != self._preferences:
            self._preferences = rates
            self._show()

    def _show(self) -> None:
        text: Content | str = ""
        if (round_ := self._round) is not None:
            lines = _describe(round_, self._rounds, self._unlike)
            lines += map(_evaluation_line, self._evaluations.get(round_.id, ()))
            if (rate := self._preferences.get(round_.id)) is not None:
                lines.append(_preference_line(rate))
            lines += [Content.styled(f"! {clean_line(warning)}", "$text-warning") for warning in round_.warnings]
            text = Content("\n").join(lines)
        self.query_one("#detail", Static).update(text)
        self.scroll_home(animate=False)
        self.call_after_refresh(self._keep_height)

    def _keep_height(self) -> None:
        """Keep the height that a round needed, so that the table does not grow and shrink as the cursor moves."""
        lines = min(self.outer_size.height, MAX_KEPT_LINES)
        if lines > self._min_lines:
            self._min_lines = lines
            self.styles.min_height = lines

    def forget_height(self) -> None:
        """Take only as much height as is needed; in another width that is another height."""
        self._min_lines = 0
        self.styles.min_height = None
        self.show_vertical_scrollbar = False  # it narrows the text, which may then need it, and so it would stay


def _describe(round_: Round, rounds: Mapping[int, Round], unlike: Round | None) -> list[Content]:
    name = f"  {clean_line(round_.name)}" if round_.name else ""
    words = [str(round_.status), *(f"#{clean_line(tag)}" for tag in round_.tags), *(["pinned"] * round_.pinned)]
    lines = [Content.assemble((f"Round {round_.number}{name}", "bold"), ("  " + "  ".join(words), MUTED))]
    if round_.note:
        lines.append(Content(clean(round_.note.strip())))
    if round_.message:
        lines.append(Content.styled(clean_line(round_.message), "bold"))
    parent = rounds.get(round_.parent) if round_.parent is not None else None
    if parent is not None:
        against = (f"against round {parent.number}: ", MUTED)
        lines.append(Content.assemble(against, describe_changes(parent, round_)))
    others = {other.number: other for other in (unlike, parent) if other is not None}
    warnings = _incomparable(round_, others.values())
    lines += [Content.styled(f"{INCOMPARABLE} {warning}", "$text-warning") for warning in warnings]
    lines.append(Content.styled(_settings(round_), MUTED))
    if result := _result(round_):
        lines.append(Content.styled(result, MUTED))
    if prediction := prediction_in_words(round_):
        lines.append(Content.styled(prediction, MUTED))
    return lines


def _evaluation_line(evaluation: EvaluationSummary) -> Content:
    """Return the scores of a round on other data than its own, as one line."""
    data, rows, loss, perplexity, interval, base = map(clean_line, evaluation_cells(evaluation))
    confidence = f"95 %: {interval}, " if interval else ""
    scores = f"perplexity {perplexity or '–'} ({confidence}eval loss {loss or '–'})"
    return Content.styled(f"on {data}: {scores} · base model {base or '–'} · {rows} rows", MUTED)


def _preference_line(rate: WinRate) -> Content:
    """Return how often the answers of a round were preferred, as one line."""
    from engine.preference.win_rate import rate_text

    return Content.styled(f"blind tests: its answer is preferred in {rate_text(rate)}", MUTED)


def describe_changes(parent: Round, round_: Round) -> str:
    """Return `learning_rate 2e-4 → 5e-5, num_train_epochs 3 → 4`, or that the specs are the same."""
    old, new = flatten(parent.spec), flatten(round_.spec)
    changes = [
        f"{key.partition('.')[2]} {clean_line(describe_value(key, old[key]))} → "
        f"{clean_line(describe_value(key, new[key]))}"
        for key in changed_keys(parent.spec, round_.spec)
    ]
    return ", ".join(changes) or "the same spec"


def _incomparable(round_: Round, others: Iterable[Round]) -> list[str]:
    """Return a line for each reason why it cannot be compared with some of the others."""
    return [
        f"measured on other held-out tokens than {name_rounds(numbers)}: {reason}"
        for reason, numbers in numbers_by_reason(others, round_).items()
    ]


def _settings(round_: Round) -> str:
    spec, plan = round_.spec, round_.plan
    parts = [
        clean_line(spec.model.path), spec.model.dtype,
        f"r={spec.lora.r} lora_alpha={spec.lora.lora_alpha} on {clean_line(format_value(spec.lora.target_modules))}",
        f"{clean_line(spec.data.path)}, {describe_value('data.samples', spec.data.samples)} rows",
    ]  # fmt: skip
    if plan.total_steps is not None:
        parts.append(f"{plan.total_steps} steps of {plan.effective_batch} rows")
    return " · ".join(parts)


def _result(round_: Round) -> str:
    result = round_.result
    parts = []
    if perplexity := measured_text(result, "perplexity"):
        interval = format_interval(interval_of(result.eval_loss_interval))
        confidence = f"95 %: {interval}, " if interval else ""
        parts.append(f"perplexity {perplexity} ({confidence}eval loss {measured_text(result, 'eval_loss')})")
    if base := measured_text(result, "base_perplexity"):
        parts.append(f"base model {base}")
    measured = [key for key in TEXT_SCORES if key in result.generation]
    if measured:
        parts.append(", ".join(f"{TEXT_SCORES[key]} {columns()[key].text(round_)}" for key in measured))
    if result.train_seconds is not None:
        parts.append(f"trained {format_duration(result.train_seconds)}")
    if result.trained_tokens is not None:
        parts.append(f"{format_count(result.trained_tokens)} tokens")
    if result.peak_memory_bytes is not None:
        parts.append(f"peak {format_bytes(result.peak_memory_bytes)}")
    if result.energy_kwh is not None:
        parts.append(format_energy(result.energy_kwh))
    if result.adapter_dir:
        parts.append(f"adapter in {clean_line(result.adapter_dir)}")
    return " · ".join(parts)

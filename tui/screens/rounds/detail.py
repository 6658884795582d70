"""What there is to know of the round under the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.compare.columns import TEXT_SCORES, columns, format_interval, interval_of, measured_text
from engine.compare.comparability import INCOMPARABLE, why_incomparable
from engine.compare.extra_evaluations import EvaluationSummary, evaluation_cells
from engine.spec.fields import changed_keys, describe_value, flatten, format_value
from engine.spec.round import Round
from engine.text.humanize import format_bytes, format_count, format_duration, name_rounds
from tui.terminal.console import clean, clean_line

if TYPE_CHECKING:
    from engine.preference.win_rate import WinRate

MUTED = "$text-muted"


class RoundDetail(VerticalScroll, can_focus=False):
    """Note, changes against the round it came from, settings and result of one round."""

    def compose(self) -> ComposeResult:
        yield Static(id="detail", markup=False)

    def show(
        self,
        round_: Round | None,
        rounds: Mapping[int, Round],
        apart_from: Round | None = None,
        evaluations: Sequence[EvaluationSummary] = (),
        rate: WinRate | None = None,
    ) -> None:
        """Tell of `round_`; `rounds` by number holds the round it came from, if that is still there.

        Args:
            apart_from: one of those that most can be held against, if `round_` cannot.
            evaluations: what it came to on other data than its own.
            rate: how often people preferred its answers.
        """
        told: Content | str = ""
        if round_ is not None:
            lines = [*_describe(round_, rounds, apart_from), *map(_elsewhere, evaluations)]
            lines += [] if rate is None else [_preferred(rate)]
            lines += [Content.styled(f"! {clean_line(text)}", "$text-warning") for text in round_.warnings]
            told = Content("\n").join(lines)
        self.query_one("#detail", Static).update(told)
        self.scroll_home(animate=False)


def _describe(round_: Round, rounds: Mapping[int, Round], apart_from: Round | None) -> list[Content]:
    named = f"  {clean_line(round_.name)}" if round_.name else ""
    words = [str(round_.status), *(f"#{clean_line(tag)}" for tag in round_.tags), *(["pinned"] * round_.pinned)]
    lines = [Content.assemble((f"Round {round_.number}{named}", "bold"), ("  " + "  ".join(words), MUTED))]
    if round_.note:
        lines.append(Content(clean(round_.note.strip())))
    if round_.message:
        lines.append(Content.styled(clean_line(round_.message), "bold"))
    parent = rounds.get(round_.parent) if round_.parent is not None else None
    if parent is not None:
        against = (f"against round {parent.number}: ", MUTED)
        lines.append(Content.assemble(against, describe_changes(parent, round_)))
    others = {item.number: item for item in (apart_from, parent) if item is not None}
    lines += [
        Content.styled(f"{INCOMPARABLE} {told}", "$text-warning") for told in _told_apart(round_, others.values())
    ]
    lines.append(Content.styled(_settings(round_), MUTED))
    if result := _result(round_):
        lines.append(Content.styled(result, MUTED))
    return lines


def _elsewhere(found: EvaluationSummary) -> Content:
    """What a round came to on other data."""
    data, rows, loss, perplexity, interval, base = map(clean_line, evaluation_cells(found))
    sure = f"95 %: {interval}, " if interval else ""
    told = f"perplexity {perplexity or '–'} ({sure}eval loss {loss or '–'}) · base model {base or '–'} · {rows} rows"
    return Content.styled(f"on {data}: {told}", MUTED)


def _preferred(rate: WinRate) -> Content:
    """How often people preferred it to others."""
    from engine.preference.win_rate import rate_text

    return Content.styled(f"judged blind: its answer is preferred in {rate_text(rate)}", MUTED)


def describe_changes(parent: Round, round_: Round) -> str:
    """`learning_rate 2e-4 → 5e-5, num_train_epochs 3 → 4`, or that nothing changed."""
    old, new = flatten(parent.spec), flatten(round_.spec)
    changes = [
        f"{key.partition('.')[2]} {clean_line(describe_value(key, old[key]))} → "
        f"{clean_line(describe_value(key, new[key]))}"
        for key in changed_keys(parent.spec, round_.spec)
    ]
    return ", ".join(changes) or "the same spec"


def _told_apart(round_: Round, others: Iterable[Round]) -> list[str]:
    """With which of the others it cannot be compared, a line for each reason."""
    reasons: dict[str, list[int]] = {}
    for other in others if round_.result.perplexity is not None else ():
        if other.result.perplexity is not None and (reason := why_incomparable(other, round_)):
            reasons.setdefault(reason, []).append(other.number)
    return [
        f"measured on other held-out tokens than {name_rounds(numbers)}: {reason}"
        for reason, numbers in reasons.items()
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
    parts, answered = [], result.generation
    if perplexity := measured_text(result, "perplexity"):
        interval = format_interval(interval_of(result.eval_loss_interval))
        sure = f"95 %: {interval}, " if interval else ""
        parts.append(f"perplexity {perplexity} ({sure}eval loss {measured_text(result, 'eval_loss')})")
    if base := measured_text(result, "base_perplexity"):
        parts.append(f"base model {base}")
    if scores := [f"{title} {columns()[key].text(round_)}" for key, title in TEXT_SCORES.items() if key in answered]:
        parts.append(", ".join(scores))
    if result.train_seconds is not None:
        parts.append(f"trained {format_duration(result.train_seconds)}")
    if result.trained_tokens is not None:
        parts.append(f"{format_count(result.trained_tokens)} tokens")
    if result.peak_memory_bytes is not None:
        parts.append(f"peak {format_bytes(result.peak_memory_bytes)}")
    if result.adapter_dir:
        parts.append(f"adapter in {clean_line(result.adapter_dir)}")
    return " · ".join(parts)

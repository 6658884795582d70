"""A plan in words: rows, steps, checkpoints and adapter, and the remarks on its settings."""

from __future__ import annotations

import shlex

from engine.compare.columns import format_epochs
from engine.dataset.preview import histogram_of
from engine.planning.devices import Device
from engine.planning.durations.duration import Duration
from engine.planning.forecast import Forecast
from engine.planning.remarks.remark import Remark
from engine.preflight.adapter_size import AdapterSize
from engine.preflight.checks import Preflight
from engine.runs.disk_forecast import checkpoint_bytes
from engine.spec.mix import sources_of
from engine.spec.plan import Plan, planned_epochs
from engine.spec.schema import Spec, TrainSpec
from engine.text.humanize import format_bytes, format_count, format_duration, format_energy, name_rounds
from tui.terminal.console import clean_line
from tui.views.preview import histogram_blocks


def forecast_lines(spec: Spec, outcome: Preflight, duration: Duration | None = None) -> list[str]:
    """Return what the checks of a spec found out, and how long it takes, in a few lines without the warnings."""
    lines = [*_data_lines(spec, outcome), *_plan_lines(spec, outcome, duration)]
    return lines if outcome.adapter is None else [*lines, _adapter_line(spec.train, outcome.adapter)]


def remedy_words(remark: Remark) -> str:
    """Return the remedy as options of the command line, quoted for a shell; empty if there is none."""
    return " ".join(f"--set {shlex.quote(f'{key}={text}')}" for key, text in remark.remedy.items())


def tokens_in_words(spec: Spec, forecast: Forecast) -> str:
    """Return the tokens of the round, how long its rows are, and how many are cut; "" if nobody has measured them."""
    rows = forecast.rows
    if rows is None:
        return f"tokens: not known: {clean_line(forecast.unmeasured)}" if forecast.unmeasured else ""
    counts = histogram_of(rows.uncut)
    drawn = f"lengths {rows.uncut[0]:,} {histogram_blocks(counts)} {rows.longest:,}" if len(counts) > 1 else ""
    longest = spec.data.max_length
    cut = f"{100 * rows.longer:.2g} % cut at {longest:,}" if rows.longer else ""
    if not cut:
        cut = "none is cut" if rows.longest <= longest else f"cut into windows of {longest:,}"
    tokens = f"about {format_count(rows.tokens)}" if rows.tokens is not None else "not known"
    return " · ".join(part for part in (f"tokens: {tokens}, {rows.mean:.0f} a row", drawn, cut) if part)


def duration_in_words(duration: Duration, device: Device) -> str:
    """Return how long a round takes, between which times that lies, its energy, and by what it is reckoned."""
    energy = f", about {format_energy(duration.energy_kwh)}" if duration.energy_kwh is not None else ""
    low, high = map(format_duration, duration.interval)
    names = "start", "steps", "evaluations", "samples", "checkpoints"
    seconds = [(name, getattr(duration, name) or 0.0) for name in names]
    parts = ", ".join(f"{name} {format_duration(part)}" for name, part in seconds if round(part))
    time = f"about {format_duration(duration.seconds)} ({low} to {high})" + (f", of it {parts}" if parts else "")
    return f"{time}{energy}; {_basis(duration, device)}"


def _basis(duration: Duration, device: Device) -> str:
    """Return by what the time of a round is reckoned."""
    if not duration.is_first:
        return f"by {name_rounds(duration.rounds)}"
    if duration.rounds:
        return f"by its operations, at the rate of {name_rounds(duration.rounds)}"
    rate = f"the published rate of {clean_line(device.name)}" if device.is_gpu else "a trial of this processor"
    guess = f"a first guess by its operations and {rate}"
    if duration.correction is None:
        return guess
    change = 100 * (duration.correction - 1)
    return f"{guess}, corrected by {change:+.0f} %, from {len(duration.rounds)} rounds here"


def _data_lines(spec: Spec, outcome: Preflight) -> list[str]:
    """Return a line on the rows of each source that is local."""
    counts = {
        "": outcome.rows,
        **{f"{source}: ": rows for source, rows in zip(sources_of(spec.data), outcome.mixed, strict=True)},
    }
    facts = [
        (f"{name}{rows.format}: {rows.usable:,}", *rows.format.remarks())
        for name, rows in counts.items()
        if rows is not None
    ]
    return [" · ".join(map(clean_line, line)) for line in facts]


def _adapter_line(train: TrainSpec, size: AdapterSize) -> str:
    """Return the size of the adapter in words, and that of a checkpoint with the optimizer's state."""
    return (
        f"adapter: {format_count(size.parameters)} parameters, on {100 * size.share:.0f} % of the layers · "
        f"{format_bytes(checkpoint_bytes(train, size.parameters))} a checkpoint"
    )


def _plan_lines(spec: Spec, outcome: Preflight, duration: Duration | None) -> list[str]:
    """Return the plan in words, in up to three lines."""
    plan, about = outcome.plan, "about " if outcome.is_about else ""
    batch = (
        f"effective batch {plan.effective_batch} = {spec.train.per_device_train_batch_size} × "
        f"{spec.train.gradient_accumulation_steps}"
    )
    if plan.train_samples is None:
        known = "rows and steps are" if plan.total_steps is None else f"{plan.total_steps:,} steps; rows are"
        return [f"{known} known once the data is loaded · {batch}", *_checkpoints(spec, plan)]
    held_out = "none" if plan.eval_samples == 0 else f"{plan.eval_samples:,}" if plan.eval_samples else "a set"
    rows = f"{about}{plan.train_samples:,} rows to train on · {held_out} held out · {batch}"
    share = 100 * (plan.warmup_share or 0)
    steps = (
        f"{about}{plan.total_steps:,} steps, {plan.steps_per_epoch:,} per epoch{_epochs(spec.train, plan)} · "
        f"warm-up {plan.warmup_steps:,} steps ({share:.0f} %)"
        + (f" · about {format_duration(duration.seconds)}" if duration is not None else "")
    )
    return [rows, steps, *_checkpoints(spec, plan)]


def _epochs(train: TrainSpec, plan: Plan) -> str:
    """Return the passes over the rows that `max_steps` comes to, which the person did not type."""
    return f", {format_epochs(planned_epochs(train, plan))} epochs" if train.max_steps is not None else ""


def _checkpoints(spec: Spec, plan: Plan) -> list[str]:
    train = spec.train
    adapter = "the adapter with the lowest eval loss" if train.load_best_model_at_end else "the adapter at the end"
    if plan.checkpoints is not None and plan.checkpoints == plan.evaluations:
        return [f"checkpoints and evaluations: {plan.checkpoints} · {adapter}"]
    if plan.checkpoints is not None:
        return [f"checkpoints: {plan.checkpoints} · {adapter}", f"evaluations: {plan.evaluations}"]
    interval = {"no": "halfway", "epoch": "each epoch", "steps": f"each {train.save_steps} steps"}[train.save_strategy]
    return [f"checkpoints: {interval}, and at the end · {adapter}"]

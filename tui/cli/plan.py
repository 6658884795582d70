"""`loratui plan`: what a round would be, and which of its settings are remarkable; nothing is queued."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec

from engine.api import Cockpit
from engine.errors import FileError, LoratuiError, UsageError
from engine.planning.accuracy import compared_fields, errors_of, predicted_figures
from engine.planning.devices import Device, device_here, device_named, was_on
from engine.planning.durations.first_duration import first_duration, precision_on
from engine.planning.forecast import Forecast, forecast
from engine.planning.length_request import LengthRequest
from engine.planning.prediction import predict_here
from engine.planning.remarks.remark import Remark
from engine.planning.remarks.rules import RULES
from engine.planning.tracing.traced_memory import traced_need
from engine.preflight.hub_shapes import update_shapes
from engine.report.export import json_text
from engine.spec.round import Prediction, Round, Status
from engine.spec.schema import Spec
from engine.system.matrix_rate import try_matrices
from engine.text.humanize import format_bytes
from tui.settings.silenced_rules import silence, silenced_rules
from tui.terminal.console import PlainConsole, clean_line, say, say_json
from tui.views.memory import parts_in_words, remedy_in_words, trace_in_words, verdict_in_words
from tui.views.plan import duration_in_words, forecast_lines, remedy_words, tokens_in_words
from tui.views.prediction import error_lines, history_table


def print_plan(cockpit: Cockpit, spec: Spec, options: argparse.Namespace) -> None:
    """Print the plan of `spec`, its warnings, the memory that it needs, and the remarks that are not silenced."""
    rounds = _rounds(cockpit)
    unknown = update_shapes(spec.model)
    device = _device(rounds, options.gpu)
    outcome, untraced = _forecast(cockpit, spec, device, rounds), ""
    if options.trace:
        outcome, untraced = _traced(spec, outcome)
    if options.json:
        say_json(json_text(_fields(outcome, unknown, untraced)))
        return
    checked = outcome.checked
    for line in (*forecast_lines(spec, checked), *(f"! {warning}" for warning in checked.warnings)):
        say(clean_line(line))
    say(clean_line(tokens_in_words(spec, outcome)))
    if outcome.duration is not None:
        say(f"time: {duration_in_words(outcome.duration, outcome.device)}")
    if unknown and outcome.memory is not None:
        say(clean_line(f"! {unknown}"))
    _say_needs(outcome, unknown)
    if untraced:
        say(clean_line(f"memory is counted, not traced: {untraced}"))
    for remark in outcome.remarks:
        if not remark.silenced:
            _say_remark(remark)
    if silenced := [remark.rule for remark in outcome.remarks if remark.silenced]:
        say(f"\nsilenced: {', '.join(silenced)}; loratui plan --unsilence RULE brings one back")


def print_history(cockpit: Cockpit, options: argparse.Namespace) -> None:
    """Print what was predicted of the rounds that finished on this device beside what they took.

    Raises:
        UsageError: the options describe a round that has not been queued, or name a card that is not here.
    """
    if _describes_round(options):
        raise UsageError("--history is about rounds that have finished: leave --set, --preset and --from out")
    rounds = _rounds(cockpit)
    device = _device(rounds, options.gpu)
    there = (round_ for round_ in rounds if round_.status is Status.FINISHED and was_on(device, round_))
    predicted = [round_ for round_ in there if predicted_figures(round_)]
    if options.json:
        say_json(json_text(_history_fields(device, predicted)))
        return
    if not predicted:
        say(
            clean_line(
                f"no round with a prediction has finished on {device.name} yet: rounds that are queued from now on "
                f"have one"
            )
        )
        return
    PlainConsole().print(history_table(predicted))
    if lines := error_lines(predicted):
        say("\n" + "\n".join(lines))


def predicted_here(cockpit: Cockpit, spec: Spec) -> Prediction | None:
    """Return what is predicted of a round that is about to be queued; None if that fails."""
    return predict_here(spec, cockpit.workspace, _rounds(cockpit))


def _rounds(cockpit: Cockpit) -> list[Round]:
    return cockpit.store.rounds() if cockpit.store.exists() else []


def _device(rounds: Sequence[Round], card: str | None) -> Device:
    """Return the device of this machine, or the card that is named."""
    engines = [round_.process for round_ in rounds if round_.process is not None]
    return device_here(engines) if card is None else device_named(card, engines)


def _describes_round(options: argparse.Namespace) -> bool:
    return bool(options.settings) or options.preset is not None or options.parent is not None


def _forecast(cockpit: Cockpit, spec: Spec, device: Device, rounds: Sequence[Round]) -> Forecast:
    """Forecast a round with its rows measured, and this processor tried if no round tells the time."""
    outcome = forecast(spec, device, cockpit.workspace, rounds, _silenced(), LengthRequest().measure(spec))
    if outcome.duration is not None or outcome.rows is None or device.is_gpu:
        return outcome
    rate = try_matrices(precision_on(device, spec))
    checked = outcome.checked
    duration = first_duration(spec, checked.plan, device, outcome.rows, rounds, rate, checked.adapter)
    return msgspec.structs.replace(outcome, duration=duration)


def _traced(spec: Spec, outcome: Forecast) -> tuple[Forecast, str]:
    """Return a forecast with its memory by a trace of the engine's passes; or as it is, and why there is no trace."""
    try:
        memory = traced_need(spec, outcome.checked.plan, outcome.device, outcome.rows)
    except LoratuiError as error:
        return outcome, error.message
    return msgspec.structs.replace(outcome, memory=memory, correction=None), ""


def _say_needs(outcome: Forecast, unknown: str) -> None:
    """Print the memory and the disk space that a round needs, as far as they are known."""
    if (memory := outcome.memory) is not None:
        verdict, remedy = verdict_in_words(memory, outcome.device), remedy_in_words(memory)
        traced = trace_in_words(outcome.device) if memory.traced else ""
        for line in (f"memory: {parts_in_words(memory, outcome.correction)}", traced, verdict, remedy):
            if line:
                say(clean_line(line))
    else:
        say(clean_line(f"memory: not known: {unknown}" if unknown else "memory: known once the round starts"))
    if outcome.disk_bytes is not None:
        say(f"disk: {format_bytes(outcome.disk_bytes)} for checkpoints and adapter")


def _say_remark(remark: Remark) -> None:
    say(f"\n{clean_line(f'{remark.rule}: {remark.reason}')}")
    for text in (remedy_words(remark), remark.source):
        if text:
            say(f"    {clean_line(text)}")


def change_silence(options: argparse.Namespace) -> bool:
    """Silence a rule or let it be heard again, as the options say; return whether they ask for that alone."""
    for rule, is_silenced in ((options.silence, True), (options.unsilence, False)):
        if rule is None:
            continue
        if rule not in RULES:
            raise UsageError(f"{rule!r} is not a rule: the rules are {', '.join(RULES)}")
        silence(rule, is_silenced)
        say(f"remarks of {rule} are {'silenced' if is_silenced else 'shown again'}", error=True)
    asks_for_plan = _describes_round(options) or options.gpu is not None or options.history
    return (options.silence or options.unsilence) is not None and not asks_for_plan


def _silenced() -> frozenset[str]:
    """Return the silenced rules; if they cannot be read, say so and show all remarks."""
    try:
        return silenced_rules()
    except FileError as error:
        say(f"loratui: {error}", error=True)
        return frozenset()


def _fields(outcome: Forecast, unknown: str, untraced: str) -> dict[str, object]:
    memory, correction = outcome.memory, outcome.correction
    return {
        "plan": outcome.checked.plan,
        "adapter": outcome.checked.adapter,
        "warnings": [*outcome.checked.warnings, *filter(None, [unknown, outcome.unmeasured, untraced])],
        "device": outcome.device,
        "tokens": outcome.tokens,
        "rows": outcome.rows
        and {
            "mean_tokens": outcome.rows.mean,
            "longest_tokens": outcome.rows.longest,
            "cut_share": outcome.rows.longer,
            "all_measured": outcome.rows.are_all,
        },
        "memory": memory
        and {
            "peak_bytes": memory.peak,
            "least_bytes": memory.least,
            "parts": {name: getattr(memory, name) for name in ("base", "adapter", "gradients", "optimizer", "process")},
            "row_bytes": memory.row,
            "row_tokens": memory.row_tokens,
            "traced": memory.traced,
            "traced_on": "processor" if memory.traced else None,
            "free_bytes": memory.free,
            "gradient_checkpointing": memory.recompute,
            "remedy": memory.remedy,
            "correction": correction.ratio if correction is not None else None,
            "rounds": correction.rounds if correction is not None else [],
            "counted_bytes": correction.counted if correction is not None else memory.peak,
        },
        "time": outcome.duration
        and {
            "seconds": outcome.duration.seconds,
            "interval": outcome.duration.interval,
            "start_seconds": outcome.duration.start,
            "steps_seconds": outcome.duration.steps,
            "evaluations_seconds": outcome.duration.evaluations,
            "samples_seconds": outcome.duration.samples,
            "checkpoints_seconds": outcome.duration.checkpoints,
            "by_operations": outcome.duration.is_first,
            "rounds": outcome.duration.rounds,
            "correction": outcome.duration.correction,
            "energy_kwh": outcome.duration.energy_kwh,
        },
        "verdict": memory.verdict if memory is not None else "unknown",
        "disk_bytes": outcome.disk_bytes,
        "remarks": [msgspec.structs.asdict(remark) for remark in outcome.remarks],
    }


def _history_fields(device: Device, rounds: Sequence[Round]) -> dict[str, object]:
    return {
        "device": device,
        "rounds": [
            {"number": round_.number, "name": round_.name, "figures": compared_fields(round_)} for round_ in rounds
        ],
        "errors": errors_of(rounds),
    }

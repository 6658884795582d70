"""`loratui show`: one round, with its evaluations, origin and sample answers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from engine.api import Cockpit
from engine.compare.columns import TEXT_SCORES, columns
from engine.compare.extra_evaluations import evaluation_fields, read_evaluations
from engine.planning.accuracy import compared_fields
from engine.report.export import json_text, round_fields
from engine.runner.launcher import UNFINISHED
from engine.runs.event_log import read_events
from engine.runs.events import Provenance, Sampled, Started
from engine.runs.provenance import provenance_lines
from engine.runs.snapshot import RunSnapshot
from engine.spec.fields import flatten, format_value
from engine.spec.plan import Plan
from engine.spec.round import Round
from tui.cli.eval import evaluation_table
from tui.cli.runner import say_if_idle
from tui.terminal.console import PlainConsole, clean, say, say_json
from tui.views.prediction import prediction_lines
from tui.views.samples import sample_table


def show(cockpit: Cockpit, options: argparse.Namespace) -> int:
    round_ = cockpit.store.get(options.number)
    events = read_events(cockpit.workspace.run_dir(round_.id).events, Started, Sampled, Provenance)
    run = RunSnapshot(events)
    samples, evaluations = run.samples, read_evaluations(cockpit.workspace.run_dir(round_.id))
    if options.json:
        extra_fields = {
            "samples": [_sample_fields(sample) for sample in samples], "provenance": run.provenance,
            "evaluations": [evaluation_fields(evaluation) for evaluation in evaluations],
            "against_prediction": compared_fields(round_),
        }  # fmt: skip
        say_json(json_text(round_fields(round_) | extra_fields))
        return 0
    if round_.status in UNFINISHED:
        say_if_idle(cockpit)
    print_round(round_, as_json=False)
    if evaluations:
        say("")
        PlainConsole().print(evaluation_table(round_, evaluations))
    if run.provenance is not None:
        say("")
        PlainConsole().print(_grid(provenance_lines(run.provenance)))
    if samples:
        say("")
        PlainConsole().print(sample_table(samples))
    return 0


def _sample_fields(sampled: Sampled) -> dict[str, object]:
    return {"step": sampled.step, "prompt": sampled.prompt, "expected": sampled.expected, "text": sampled.text}


def print_round(round_: Round, as_json: bool, settings: bool = True) -> None:
    """Print the round; `settings` adds its plan and spec to its outcome."""
    if as_json:
        say_json(json_text(round_fields(round_)))
        return
    PlainConsole().print(_grid([*_outcome_lines(round_), *(_setting_lines(round_) if settings else ())]))


def _grid(lines: Iterable[tuple[str, str]]) -> Table:
    """Return a table with a line for each name that has a value."""
    table = Table.grid(padding=(0, 2))
    for name, value in lines:
        if value:
            table.add_row(Text(clean(name), "dim"), Text(clean(value)))
    return table


def _outcome_lines(round_: Round) -> list[tuple[str, str]]:
    """Return name and value of each field of the round and its result, "" for an unknown value."""
    keys = ("number", "name", "status", "tags", "parent", "message", "note")
    result = (
        "eval_loss", "perplexity", "perplexity_interval", "base_perplexity", "train_seconds", "trained_tokens",
        "peak_memory_bytes", "energy_kwh", *TEXT_SCORES,
    )  # fmt: skip
    lines = [(columns()[key].title, columns()[key].text(round_)) for key in keys]
    lines += [("pinned", "true" * round_.pinned)]
    lines += [("warning", warning) for warning in round_.warnings]
    lines += [(columns()[key].title, columns()[key].text(round_)) for key in result]
    return [*lines, *prediction_lines(round_), ("adapter", round_.result.adapter_dir or "")]


def _setting_lines(round_: Round) -> list[tuple[str, str]]:
    """Return name and value of each field of the plan and the spec, "" for an unknown value."""
    plan = [(name.replace("_", " "), _plan_value(round_.plan, name)) for name in Plan.__struct_fields__]
    return plan + [(key, format_value(value)) for key, value in flatten(round_.spec).items()]


def _plan_value(plan: Plan, name: str) -> str:
    value = getattr(plan, name)
    return f"{value:.0%}" if name == "warmup_share" and value is not None else format_value(value)

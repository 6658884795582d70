"""`loratui eval N --data F`: score a round's adapter and its base model on the rows of another file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from engine.api import Cockpit
from engine.compare.columns import format_interval, format_loss, interval_of
from engine.compare.extra_evaluations import (
    EVALUATION_TITLES,
    EvaluationSummary,
    ScoreProgress,
    evaluate_on,
    evaluation_cells,
    evaluation_fields,
    read_evaluations,
)
from engine.errors import RoundError
from engine.files.paths import current_directory
from engine.spec.data import DataSpec
from engine.spec.fields import parse_value
from engine.spec.held_out import held_out_set, holds_nothing_out
from engine.spec.local_paths import looks_local
from engine.spec.round import ACTIVE, Round
from engine.text.humanize import format_perplexity
from tui.terminal.console import PlainConsole, clean_line, say_json


def evaluate(cockpit: Cockpit, options: argparse.Namespace) -> int:
    cockpit.store.check_writable()
    round_ = cockpit.store.get(options.number)
    if round_.status in ACTIVE:
        raise RoundError(f"round {round_.number} is {round_.status}: score it when it has ended")
    path = str(parse_value("data.path", options.data))
    if looks_local(path) or Path(path).exists():
        path = os.path.join(current_directory(), os.path.expanduser(path))
    trained = round_.spec.data
    part = (trained.name, trained.split, trained.revision) if path == trained.path else (None, None, None)
    data = msgspec.structs.replace(
        trained, path=path, name=part[0], split=part[1], revision=part[2], samples=options.samples, format="auto",
        eval_path=None, eval_name=None, eval_split=None, eval_samples=None, mix=None,
    )  # fmt: skip
    evaluation = _with_progress(cockpit, round_, data)
    if options.json:
        from engine.report.export import json_text

        say_json(json_text(evaluation_fields(evaluation)))
        return 0
    PlainConsole().print(evaluation_table(round_, read_evaluations(cockpit.workspace.run_dir(round_.id))))
    return 0


def _with_progress(cockpit: Cockpit, round_: Round, data: DataSpec) -> EvaluationSummary:
    console = PlainConsole(error=True)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console,
        disable=not console.is_terminal,
    )  # fmt: skip
    with progress:
        task = progress.add_task("loading", total=None)

        def tell(advance: ScoreProgress) -> None:
            progress.update(
                task, description=clean_line(advance.phase), completed=advance.done, total=advance.total or None
            )

        return evaluate_on(cockpit.workspace.run_dir(round_.id), data, tell)


def evaluation_table(round_: Round, evaluations: Sequence[EvaluationSummary]) -> Table:
    """Return a table of the round's scores: its own held-out rows first, then each other file."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in EVALUATION_TITLES:
        table.add_column(title, justify="left" if title == "data" else "right")
    result, data = round_.result, round_.spec.data
    first_row = (
        f"held out of {(held_out_set(data) or data).path}", str(round_.plan.eval_samples or ""),
        format_loss(result.eval_loss), format_perplexity(result.perplexity),
        format_interval(interval_of(result.eval_loss_interval)), format_perplexity(result.base_perplexity),
    )  # fmt: skip
    own_rows = () if holds_nothing_out(data) else (first_row,)
    for cells in (*own_rows, *map(evaluation_cells, evaluations)):
        table.add_row(*(Text(clean_line(cell)) for cell in cells))
    return table

"""`loratui eval N --data F`: a round's adapter and its base model on the rows of another file."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from engine.columns import format_interval, format_loss, interval_of
from engine.errors import RoundError
from engine.evaluations import Advance, ExtraEvaluation, evaluate_on, read_evaluations
from engine.fields import parse_value
from engine.operations import Cockpit
from engine.rounds import ACTIVE, Round
from engine.spec import DataSpec, looks_local
from engine.units import format_perplexity
from tui.plain import PlainConsole, clean_line, say

TITLES = ("data", "rows", "eval loss", "perplexity", "95 % interval", "base perplexity")


def evaluate(cockpit: Cockpit, options: argparse.Namespace) -> int:
    cockpit.store.check_writable()
    round_ = cockpit.store.get(options.number)
    if round_.status in ACTIVE:
        raise RoundError(f"round {round_.number} is {round_.status}: score it when it has ended")
    path = str(parse_value("data.path", options.data))
    if looks_local(path) or Path(path).exists():
        path = str(Path(path).expanduser().absolute())
    data = msgspec.structs.replace(round_.spec.data, path=path, samples=options.samples, format="auto")
    found = _with_progress(cockpit, round_, data)
    if options.json:
        from engine.tables import json_text

        say(json_text(_fields(found)))
        return 0
    PlainConsole().print(evaluation_table(round_, read_evaluations(cockpit.workspace.run_dir(round_.id))))
    return 0


def _with_progress(cockpit: Cockpit, round_: Round, data: DataSpec) -> ExtraEvaluation:
    console = PlainConsole(error=True)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console,
        disable=not console.is_terminal,
    )  # fmt: skip
    with progress:
        task = progress.add_task("loading", total=None)

        def tell(advance: Advance) -> None:
            progress.update(
                task, description=clean_line(advance.phase), completed=advance.done, total=advance.total or None
            )

        return evaluate_on(cockpit.workspace.run_dir(round_.id), data, tell)


def _fields(found: ExtraEvaluation) -> dict[str, object]:
    """All but what each row scored."""
    fields: dict[str, object] = msgspec.to_builtins(found)
    return {key: value for key, value in fields.items() if key not in ("scores", "base_scores", "type")}


def evaluation_table(round_: Round, evaluations: list[ExtraEvaluation]) -> Table:
    """The round's own held-out rows first, then each other file it was scored on."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, justify="left" if title == "data" else "right")
    result = round_.result
    held_out = f"held out of {round_.spec.data.path}"
    rows = [
        (held_out, str(round_.plan.eval_samples or ""), result.eval_loss, result.perplexity, result.eval_loss_interval,
         result.base_perplexity),
        *((item.data.path, f"{item.rows:,}", item.eval_loss, item.perplexity, item.eval_loss_interval,
           item.base_perplexity) for item in evaluations),
    ]  # fmt: skip
    for data, count, loss, perplexity, interval, base in rows:
        cells = (
            data, count, format_loss(loss), format_perplexity(perplexity), format_interval(interval_of(interval)),
            format_perplexity(base),
        )  # fmt: skip
        table.add_row(*(Text(clean_line(cell)) for cell in cells))
    return table

"""`loratui ls`: the rounds as a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from engine.api import Cockpit
from engine.compare.columns import Rounds, columns
from engine.compare.comparability import INCOMPARABLE, incomparable_reasons
from engine.compare.leaders import find_leaders
from engine.compare.query import by_number, filter_rounds, group_rounds, sort_rounds, why_none
from engine.report.export import to_json
from engine.spec.round import Round
from tui.cli.runner import wake_runner
from tui.terminal.console import PlainConsole, clean_line, say, say_json

LISTED = (
    "number", "name", "status", "tags", "sweep", "setting", "train.learning_rate", "train.per_device_train_batch_size",
    "train.gradient_accumulation_steps", "epochs", "train.warmup_steps", "train_seconds",
    "eval_loss", "perplexity", "base_perplexity", "against_base", "against_parent",
)  # fmt: skip
# Columns that are left out if they would be empty.
IF_ANY = ("tags", "sweep", "setting", "against_base", "against_parent")
TITLES = {
    "train.learning_rate": "lr", "train.per_device_train_batch_size": "batch",
    "train.gradient_accumulation_steps": "acc", "epochs": "ep", "train.warmup_steps": "warm",
    "base_perplexity": "base", "perplexity": "ppl", "eval_loss": "loss",
    "against_base": "vs base", "against_parent": "vs parent",
}  # fmt: skip


def ls(cockpit: Cockpit, options: argparse.Namespace) -> int:
    rounds = cockpit.store.rounds()
    all_rounds = by_number(rounds)
    rounds = sort_rounds(filter_rounds(rounds, options.filter, all_rounds), options.sort, all_rounds)
    groups = group_rounds(rounds, options.group, all_rounds) if options.group else []
    wake_runner(cockpit)
    if options.json:
        say_json(to_json(round_ for group in groups for round_ in group.rounds) if groups else to_json(rounds), end="")
        return 0
    if options.filter and not rounds:
        say(f"loratui: {why_none(options.filter, all_rounds)}", error=True)
    if not groups:
        PlainConsole().print(_rounds_table(rounds, rounds, all_rounds))
    for group in groups:
        say(group.heading(options.group))
        PlainConsole().print(_rounds_table(group.rounds, rounds, all_rounds))
    reference = find_leaders(rounds, "perplexity").reference
    for reason in incomparable_reasons(rounds, all_rounds[reference]) if reference is not None else ():
        say(f"{INCOMPARABLE} {reason}")
    return 0


def _rounds_table(rounds: Sequence[Round], among: Sequence[Round], all_rounds: Rounds) -> Table:
    """Return a table with a row per round; the columns are wide enough for all of `among`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    incomparable = {key: find_leaders(among, key).incomparable for key in ("eval_loss", "perplexity")}
    keys = [key for key in LISTED if key not in IF_ANY or any(columns()[key].text(each, all_rounds) for each in among)]
    for key in keys:
        column = columns()[key]
        width = max((cell_len(clean_line(column.text(each, all_rounds))) for each in among), default=0)
        width += bool(incomparable.get(key))
        table.add_column(
            TITLES.get(key, column.title),
            justify="right" if column.numeric else "left",
            min_width=None if key in ("name", "tags") else width,  # a name may be cut, a number never
        )
    table.add_column("note", overflow="ellipsis")
    for round_ in rounds:
        cells = [
            INCOMPARABLE * (round_.number in incomparable.get(key, ())) + columns()[key].text(round_, all_rounds)
            for key in keys
        ]
        texts = (clean_line(text) for text in (*cells, round_.message or round_.note))
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in texts))
    return table

"""The store beside stock TinyDB: `python -m benchmarks.store [--rounds 100,1000,10000] [--repeats N]`.

Both begin with the same file and take turns within one run. TinyDB is as it comes, with its `JSONStorage`, which parses
the file for every operation and writes it in place. A new handle has nothing in memory, as a front end has when another
process has changed the file, or a command that has just started.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table as RichTable
from tinydb import TinyDB
from tinydb.table import Table

from benchmarks.machine import describe_machine
from benchmarks.report import markdown_table
from engine.files.paths import Workspace
from engine.spec.fields import build_spec
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status
from engine.store.round_store import RoundStore

INSERT, UPDATE, LIST, GET, GET_AGAIN = "insert", "update", "list, new handle", "get, new handle", "get again"
WANTED_MS = {INSERT: 60.0, LIST: 500.0}
WANTED_AMONG = 10_000
OURS, STOCK = "loratui", "TinyDB"
Times = dict[tuple[str, str], list[float]]


def make_round(number: int, **changes: Any) -> Round:
    """A round as people have them: a spec of its own, results, and a note of two lines; with fields changed."""
    settings = {
        "model.path": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        "data.path": "/home/someone/data/alpaca_cleaned.json",
        "data.samples": 2600,
        "lora.r": 4 << number % 5,
        "train.learning_rate": 1e-5 * (1 + number % 40),
        "train.num_train_epochs": 1 + number % 4,
    }
    spec = build_spec(settings)
    round_ = Round(
        id=f"{number:04d}-{number * 2654435761 % 2**32:08x}",
        number=number,
        name=f"alpaca-{number}",
        status=Status.FINISHED,
        note=f"Round {number - 1} came out best so far, yet its loss still fell at the end: twice the rank, and the "
        "rate a little lower, to see whether it is the adapter or the time that is short.",
        parent=number - 1 or None,
        spec=spec,
        plan=make_plan(spec, spec.data.samples),
        result=Result(
            eval_loss=1.15 + number % 97 / 1000,
            perplexity=3.16,
            base_perplexity=4.91,
            train_seconds=534.2,
            trained_tokens=1_264_896,
            peak_memory_bytes=5_046_586_573,
            adapter_dir=f"runs/{number}/adapter",
        ),
        created=1.7e9 + number,
        started=1.7e9 + number + 1,
        ended=1.7e9 + number + 535,
    )
    return msgspec.structs.replace(round_, **changes)


def measure(directory: Path, count: int, repeats: int) -> tuple[Times, int]:
    """Seconds of each operation by contender, and the size of the file they began with."""
    times: Times = defaultdict(list)
    workspace = Workspace(directory)
    store = RoundStore(workspace)
    store.create(tuple(map(make_round, range(1, count + 1))))
    size = workspace.store_path.stat().st_size
    shutil.copy(workspace.store_path, directory / "tinydb.json")
    with TinyDB(directory / "tinydb.json") as db:
        table = db.table("rounds", cache_size=0)
        for turn in range(repeats):
            for operation, contenders in operations(store, table, workspace, count, turn).items():
                for name, do in contenders.items():
                    start = time.perf_counter()
                    do()
                    times[operation, name].append(time.perf_counter() - start)
    return times, size


def operations(
    store: RoundStore, table: Table, workspace: Workspace, count: int, turn: int
) -> dict[str, dict[str, Callable[[], object]]]:
    """What is done in one turn, by each contender."""
    number = 1 + turn * 7919 % count
    document = msgspec.to_builtins(make_round(count + 1 + turn))
    new = RoundStore(workspace)
    note = f"turn {turn}"
    return {
        INSERT: {OURS: lambda: store.add(make_round), STOCK: lambda: table.insert(document)},
        UPDATE: {
            OURS: lambda: store.update(number, note=note),
            STOCK: lambda: table.update({"note": note}, doc_ids=[number]),
        },
        LIST: {OURS: lambda: RoundStore(workspace).rounds(), STOCK: table.all},
        GET: {OURS: lambda: new.get(number), STOCK: lambda: table.get(doc_id=number)},
        GET_AGAIN: {OURS: lambda: new.get(number), STOCK: lambda: table.get(doc_id=number)},
    }


def table_of(times: Times) -> RichTable:
    """Medians in milliseconds, minima in brackets."""
    rows = []
    for operation in (INSERT, UPDATE, LIST, GET, GET_AGAIN):
        ours, stock = times[operation, OURS], times[operation, STOCK]
        ratio = statistics.median(stock) / statistics.median(ours)
        rows.append([operation, _cell(ours), _cell(stock), f"{ratio:,.1f}×"])
    return markdown_table(["", OURS, STOCK, f"{STOCK} ÷ {OURS}"], rows)


def verdicts(times: Times) -> list[str]:
    """Which of the wanted figures are met, by the medians among `WANTED_AMONG` rounds."""
    lines = []
    for operation, wanted in WANTED_MS.items():
        found = 1000 * statistics.median(times[operation, OURS])
        word = "met" if found <= wanted else "**not met**"
        lines.append(
            f"- {word}: {operation} among {WANTED_AMONG:,} rounds {found:.0f} ms, wanted at most {wanted:.0f}."
        )
    return lines


def _cell(seconds: Sequence[float]) -> str:
    median, least = (1000 * value for value in (statistics.median(seconds), min(seconds)))
    return f"{median:,.2f} ({least:,.2f})" if median < 10 else f"{median:,.0f} ({least:,.0f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default="100,1000,10000", help="numbers of rounds (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="how often each is done (default: %(default)s)")
    parser.add_argument("--directory", help="on the disk to measure (default: where temporary files go)")
    options = parser.parse_args()
    console = Console(width=120)
    for line in (*describe_machine("none", 1), f"TinyDB {version('tinydb')}, msgspec {version('msgspec')}"):
        console.print(line, soft_wrap=True)
    for count in map(int, options.rounds.split(",")):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            times, size = measure(Path(directory), count, options.repeats)
        console.print(f"\n{count:,} rounds, {size / 1e6:.1f} MB, milliseconds:\n", table_of(times), sep="\n")
        for line in verdicts(times) if count == WANTED_AMONG else ():
            console.print(line, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

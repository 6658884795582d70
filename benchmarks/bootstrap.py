"""How long it takes to know how sure a loss is: `python -m benchmarks.bootstrap [--examples N,N] [--repeats N]`.

The interval of one evaluation, and the paired verdict on two, of as many held-out examples; both by 10,000 resamples.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.report import markdown_table
from engine.compare.bootstrap import DRAWS, mean_per_token
from engine.compare.paired_bootstrap import pair
from engine.runs.scores import Scores

INTERVAL, VERDICT = "interval", "verdict"
WANTED_EXAMPLES, WANTED_SECONDS = 10_000, 1.0
Times = dict[str, list[float]]


def made_up(examples: int, seed: int) -> Scores:
    """Scores of rows of 1 to 400 tokens; those of two seeds are of the same rows."""
    rows, chance = np.random.default_rng(0), np.random.default_rng(seed)
    tokens = np.clip(rows.lognormal(3.5, 0.8, examples), 1, 400).astype(int)
    nlls = tokens * (rows.gamma(2.0, 0.6, examples) + chance.normal(0.0, 0.05, examples))
    return Scores(tuple(f"{row:016x}" for row in range(examples)), tuple(tokens.tolist()), tuple(nlls.tolist()))


def measure(examples: int, repeats: int) -> Times:
    """Seconds of each, as often as wanted, in turn."""
    first, second = made_up(examples, 1), made_up(examples, 2)
    nlls = [nll for nll in first.nlls if nll is not None]
    asked: dict[str, Callable[[], object]] = {
        INTERVAL: lambda: mean_per_token(nlls, first.tokens),
        VERDICT: lambda: pair(first, second),
    }
    times: Times = {name: [] for name in asked}
    for _ in range(repeats):
        for name, ask in asked.items():
            start = time.perf_counter()
            ask()
            times[name].append(time.perf_counter() - start)
    return times


def rows_of(examples: int, times: Times) -> list[list[str]]:
    """Medians and minima in milliseconds."""
    return [
        [f"{name}, {examples:,} examples", f"{1000 * statistics.median(taken):,.0f}", f"{1000 * min(taken):,.0f}"]
        for name, taken in times.items()
    ]


def verdict(times: Times) -> str:
    """Whether what is wanted is met, by the slower of the medians."""
    seconds = max(map(statistics.median, times.values()))
    word = "met" if seconds <= WANTED_SECONDS else "**not met**"
    return f"- {word}: {WANTED_EXAMPLES:,} examples in {seconds:.2f} s, wanted at most {WANTED_SECONDS:.0f}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", default="260,10000", help="held-out examples (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="how often each is done (default: %(default)s)")
    options = parser.parse_args()
    console = Console(width=120)
    for line in describe_machine("none", 1):
        console.print(line, soft_wrap=True)
    found = {examples: measure(examples, options.repeats) for examples in map(int, options.examples.split(","))}
    console.print(f"\n{DRAWS:,} resamples, milliseconds:\n")
    rows = [row for examples, times in found.items() for row in rows_of(examples, times)]
    console.print(markdown_table(["", "median", "least"], rows))
    if WANTED_EXAMPLES in found:
        console.print(verdict(found[WANTED_EXAMPLES]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

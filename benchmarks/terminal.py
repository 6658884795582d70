"""This app and its peers on a terminal: `python -m benchmarks.terminal [--repeats N] [--steps N] [--only A,B]`.

Each is given the same steps, through its own library, and takes its turn on a pseudo-terminal of 120×36. First a run
that has ended is opened: seconds to the first painted screen and to the whole of the run, the delay of keys, what is
written while nothing happens. Then one that goes on at 20 steps a second: bytes, processor time and memory, and the
delay of keys meanwhile. At last this app alone opens a run of `--long` steps. Peers are installed by `make peers`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.front_ends import PEERS, FrontEnd, Leet, Loratui, Run, Terminalboard, await_run, variables, written
from benchmarks.machine import describe_machine
from benchmarks.on_terminal import OnTerminal
from benchmarks.report import markdown_table

COLUMNS, ROWS = 120, 36
LIVE_STEPS = 100_000
LIVE_HISTORY = 2_000
SETTLE_SECONDS = 4.0
OURS, MANY, LONG = "loratui", "loratui-10k", "long run"
Figures = dict[tuple[str, str], list[float]]


START, OPEN, IDLE_KEY, IDLE_BYTES = "start to a painted screen", "start to the whole run", "key", "idle bytes/s"
LIVE_BYTES, CPU, MEMORY = "live bytes/s", "live CPU", "live memory"
TABLE_KEY, RUN_KEY = "key in the first screen, live", "key in the run, live"
OPEN_LONG, REDRAW = "long run: key to whole curve", "long run: key to redrawn curve"
DELAYS = (IDLE_KEY, TABLE_KEY, RUN_KEY, REDRAW)
WRITE: dict[str, Callable[[float], str]] = {
    **dict.fromkeys((START, OPEN, OPEN_LONG), lambda seconds: f"{seconds:.2f} s"),
    **dict.fromkeys(DELAYS, lambda seconds: f"{1000 * seconds:.1f} ms"),
    **dict.fromkeys((IDLE_BYTES, LIVE_BYTES), lambda count: f"{count:,.0f}"),
    CPU: lambda percent: f"{percent:.1f} %",
    MEMORY: lambda count: f"{count / 1e6:.0f} MB",
}
BUDGETS = [  # the median is at most
    (LIVE_BYTES, OURS, 1200), (IDLE_BYTES, OURS, 0), (CPU, OURS, 3), (MEMORY, OURS, 70e6), (IDLE_KEY, OURS, 0.010),
    (TABLE_KEY, OURS, 0.010), (RUN_KEY, OURS, 0.010), (IDLE_KEY, MANY, 0.010), (OPEN_LONG, LONG, 1.0),
    (REDRAW, LONG, 0.050),
]  # fmt: skip
RATIOS = [(START, OURS, 0.85), (START, MANY, 1.1)]  # the median is at most so many times LEET's in the same run
WORST = [(figure, name, 0.050) for name in (OURS, MANY) for figure in (IDLE_KEY, TABLE_KEY, RUN_KEY)]


class Bench:
    """Where the runs lie, and what was found so far."""

    def __init__(self, root: Path, presses: int, watch: float) -> None:
        self.root = root
        self.figures: Figures = defaultdict(list)
        self._presses = presses
        self._watch = watch
        self._home = root / "home"
        self._home.mkdir()
        self._env = variables(self._home)

    def prepare(self, front_end: FrontEnd, run: Run) -> Path:
        """A directory of this front end with a run that has ended."""
        directory = self._fresh(front_end)
        with written(front_end, directory, run, self._env) as ended:
            ended()
        return directory

    def _fresh(self, front_end: FrontEnd) -> Path:
        directory = Path(tempfile.mkdtemp(dir=self.root))
        front_end.prepare(directory, self._env)
        return directory

    def _open(self, front_end: FrontEnd, directory: Path) -> OnTerminal:
        return OnTerminal(front_end.command(directory), directory, self._env, COLUMNS, ROWS)

    def look_at(self, front_end: FrontEnd, directory: Path, run: Run) -> None:
        """Open what has ended, press keys, and leave it alone."""
        with self._open(front_end, directory) as terminal:
            self._note(front_end, START, terminal.wait_for(front_end.painted))
            terminal.type(front_end.to_run)
            self._note(front_end, OPEN, terminal.wait_for(front_end.shows(run)))
        with self._open(front_end, directory) as terminal:
            terminal.wait_for(front_end.painted)
            terminal.read(SETTLE_SECONDS)
            self._note(front_end, IDLE_KEY, *terminal.key_seconds(front_end.keys, self._presses))
            self._note(front_end, IDLE_BYTES, terminal.watch(self._watch).bytes_per_second)

    def follow(self, front_end: FrontEnd) -> None:
        """Open a run that goes on, press keys on the first screen and in the run, and leave it alone there."""
        directory = self._fresh(front_end)
        with written(front_end, directory, Run(LIVE_HISTORY, LIVE_STEPS), self._env):
            await_run(front_end, directory)
            with self._open(front_end, directory) as terminal:
                terminal.wait_for(front_end.painted)
                terminal.read(SETTLE_SECONDS)
                if front_end.to_run:
                    self._note(front_end, TABLE_KEY, *terminal.key_seconds(front_end.keys, self._presses))
                    terminal.type(front_end.keys[-1] * len(front_end.keys) + front_end.to_run)
                    terminal.read(SETTLE_SECONDS)
                watched = terminal.watch(self._watch)
                self._note(front_end, LIVE_BYTES, watched.bytes_per_second)
                self._note(front_end, CPU, watched.cpu_percent)
                self._note(front_end, MEMORY, watched.resident_bytes)
                self._note(front_end, RUN_KEY, *terminal.key_seconds(front_end.run_keys, self._presses))

    def open_long(self, front_end: FrontEnd, directory: Path, run: Run) -> None:
        """From the table into a long run, and about in it."""
        with self._open(front_end, directory) as terminal:
            terminal.wait_for(front_end.painted)
            terminal.read(SETTLE_SECONDS)
            before = terminal.seconds
            terminal.type(front_end.to_run)
            self.figures[OPEN_LONG, LONG].append(terminal.wait_for(front_end.shows(run)) - before)
            terminal.read(SETTLE_SECONDS)
            self.figures[REDRAW, LONG] += terminal.key_seconds(front_end.run_keys, self._presses)

    def _note(self, front_end: FrontEnd, figure: str, *values: float) -> None:
        self.figures[figure, front_end.name] += values


def contenders(only: Sequence[str]) -> list[FrontEnd]:
    """Those that are installed and asked for."""
    known: list[FrontEnd] = [Loratui(5, OURS), Loratui(10_000, MANY)]
    if PEERS.is_dir():
        known += [Leet(), Terminalboard()]
    return [item for item in known if not only or item.name in only]


def heading(figure: str) -> str:
    """What stands before a row; for delays also which three figures its cells hold."""
    return f"{figure}: median, 99th percentile, worst" if figure in DELAYS else figure


def written_cell(figures: Figures, figure: str, name: str) -> str:
    """Median, and least and greatest in brackets, or of delays what `heading` says; a dash where there is none."""
    values = figures.get((figure, name))
    if not values:
        return "–"
    write = WRITE[figure]
    if figure in DELAYS:
        middle, late = np.percentile(values, [50, 99])
        return f"{1000 * middle:.1f}, {1000 * late:.1f}, {write(max(values))}"
    return f"{write(statistics.median(values))} ({write(min(values))} to {write(max(values))})"


def verdicts(figures: Figures) -> list[str]:
    """A line for each budget of the design, met or not."""
    lines = []
    medians = {key: statistics.median(values) for key, values in figures.items() if values}
    for figure, name, most in RATIOS:
        peer = medians.get((figure, Leet.name))
        if peer and (figure, name) in medians:
            ratio = medians[figure, name] / peer
            lines.append(_verdict(name, figure, ratio, most, lambda value: f"{value:.2f} of {Leet.name}'s"))
    for figure, name, most in BUDGETS:
        if (figure, name) in medians:
            lines.append(_verdict(name, figure, medians[figure, name], most, WRITE[figure]))
    for figure, name, most in WORST:
        if values := figures.get((figure, name)):
            lines.append(_verdict(name, f"{figure}, worst", max(values), most, WRITE[figure]))
    return lines


def _verdict(name: str, figure: str, value: float, most: float, write: Callable[[float], str]) -> str:
    return f"- {'met' if value <= most else '**not met**'}: {name}, {figure}: {write(value)}, at most {write(most)}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="turns that each takes (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100_000, help="of the run that has ended (default: %(default)s)")
    parser.add_argument("--long", type=int, default=1_000_000, help="of the long run (default: %(default)s; 0: none)")
    parser.add_argument("--presses", type=int, default=40, help="keys pressed in each place (default: %(default)s)")
    parser.add_argument("--watch", type=float, default=10.0, help="seconds left alone (default: %(default)s)")
    parser.add_argument("--only", default="", help="contenders, by commas (default: all that are installed)")
    options = parser.parse_args()
    console = Console(width=160)
    chosen = contenders([name for name in options.only.split(",") if name])
    for line in describe_machine("none", 1):
        console.print(line, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="loratui-terminal-") as root:
        bench = Bench(Path(root), options.presses, options.watch)
        run, long = Run(options.steps, options.steps), Run(options.long, options.long)
        directories = {item.name: bench.prepare(item, run) for item in chosen}
        for turn in range(options.repeats):
            for item in chosen[turn % len(chosen) :] + chosen[: turn % len(chosen)]:
                bench.look_at(item, directories[item.name], run)
                bench.follow(item)
        if options.long and any(item.name == OURS for item in chosen):
            ours = Loratui(5, OURS)
            directory = bench.prepare(ours, long)
            for _ in range(options.repeats):
                bench.open_long(ours, directory, long)
    names = [item.name for item in chosen]
    rows = [[heading(figure), *(written_cell(bench.figures, figure, name) for name in names)] for figure in WRITE]
    console.print(markdown_table(["", *names], [row for row in rows if any(cell != "–" for cell in row[1:])]))
    for line in verdicts(bench.figures):
        console.print(line, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where the time to the first step goes: `python -m benchmarks.first_step --model DIR --data FILE [--rows N]`.

One run as users have it, read from its events, and one under `python -X importtime` for what is imported, which takes
longer for being watched.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from benchmarks.comparison import add_round_options, choose_device, make_spec
from benchmarks.machine import describe_machine
from benchmarks.measuring import environment, make_run, run_process
from benchmarks.report import markdown_table
from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Phase, Step

ONE_STEP = 1e-3  # epochs: of any round of fewer than a thousand steps the first alone
IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)")
PACKAGES_SHOWN = 8


def parts(started: float, events: Iterable[AnyEvent]) -> dict[str, float]:
    """Seconds of each phase from the start of the process to the end of the first step."""
    seconds: dict[str, float] = defaultdict(float)
    phase, before = "starting Python", started
    for event in events:
        seconds[phase] += event.time - before
        before = event.time
        if isinstance(event, Phase):
            phase = event.name
        if isinstance(event, Step):
            break
    return dict(seconds)


def imports(log: str) -> dict[str, float]:
    """Seconds spent in the modules of each package, most first, from the log of `python -X importtime`."""
    seconds: dict[str, float] = defaultdict(float)
    for microseconds, module in IMPORT_LINE.findall(log):
        seconds[module.partition(".")[0]] += int(microseconds) / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def train(run: RunDir, device: str, threads: int, *flags: str) -> float:
    """Train the round of `run`; when its process was started."""
    command = [sys.executable, *flags, "-P", "-m", "engine.training", str(run.path)]
    return run_process(command, run.path, environment(run.path, device, threads), run.log).started


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_step", description=__doc__)
    add_round_options(parser)
    options = parser.parse_args()
    options.epochs = ONE_STEP
    spec = make_spec(options)
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="loratui-benchmark-") as temporary:
        directory = Path(temporary)
        device, name = choose_device(options.device, directory, options.threads)
        run, watched = make_run(directory / "run", spec), make_run(directory / "watched", spec)
        started = train(run, device, options.threads)
        train(watched, device, options.threads, "-X", "importtime")
        seconds = parts(started, read_events(run.events))
        imported = imports(watched.log.read_text())
    for line in describe_machine(name, options.threads):
        console.print(line, highlight=False)
    rows = [*seconds.items(), ("to the end of the first step", sum(seconds.values()))]
    console.print(markdown_table(("phase", "s"), [(name, f"{value:.2f}") for name, value in rows]))
    shown = [("all imports", sum(imported.values())), *list(imported.items())[:PACKAGES_SHOWN]]
    console.print(markdown_table(("imports, watched", "s"), [(name, f"{value:.2f}") for name, value in shown]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

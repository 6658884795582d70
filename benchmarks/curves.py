"""A run's curve, opened and drawn anew: `python -m benchmarks.curves [--steps N,N] [--repeats N]`.

Opening is from the live screen's being asked for to its curve's being painted, redrawing from a key to the picture's
being painted; both in the app itself, without the terminal, whose speed is not ours. A run is opened by turns as its
engine leaves it and without its `steps.bin`, as earlier versions left it. Each number of steps is measured in a process
of its own, as memory is.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from textual.pilot import Pilot

from benchmarks.machine import describe_machine
from benchmarks.report import markdown_table
from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.runs.event_log import EventWriter
from engine.runs.events import Prepared, Started, Step
from engine.spec.presets import load_preset
from engine.spec.round import Round
from engine.store.round_store import RoundStore
from engine.system.process import ProcessIdentity
from tui.app import LoratuiApp
from tui.screens.run.screen import LiveScreen
from tui.widgets.chart.chart import CurveChart

SIZE = (200, 60)
OPEN, OPEN_ALONE = "open", "open, log alone"
KEYS = {  # in this order, each from where the one before has left the chart
    "next metric": "M",
    "metric before": "m",
    "zoom in": "plus",
    "pan": "L",
    "zoom out": "minus",
    "smooth more": "right_square_bracket",
    "cursor": "h",
    "by epoch": "i",
    "by time": "i",
    "log scale": "o",
}
WANTED_MS = {OPEN: 1000.0, **dict.fromkeys(KEYS, 50.0)}
WANTED_STEPS = 1_000_000
START_MEMORY, OPEN_MEMORY = "before", "open"
Times = dict[str, list[float]]


def write_run(cockpit: Cockpit, steps: int) -> Round:
    """A round with the events of a run that took so many steps, their numbers as long as real ones."""
    round_ = cockpit.queue(load_preset("nano").spec, hold=True)
    run = cockpit.workspace.run_dir(round_.id)
    run.path.mkdir(parents=True, exist_ok=True)
    writer = EventWriter(run.events)
    writer.append(Started(time=1.7e9, process=ProcessIdentity("boot", 1, 1)))
    writer.append(
        Prepared(
            time=1.7e9,
            device="cuda",
            dtype="bfloat16",
            parameters=1_100_048_384,
            trainable_parameters=1_126_400,
            train_samples=2574,
            eval_samples=26,
            total_steps=steps,
            steps_per_epoch=max(1, steps // 3),
        )
    )
    for number in range(1, steps + 1):
        writer.append(_step(number, steps))
    writer.close()
    return round_


def _step(number: int, steps: int) -> Step:
    noise = number * 2654435761 % 2**32 / 2**32
    return Step(
        time=1.7e9 + number + noise,
        step=number,
        epoch=number / max(1, steps // 3),
        loss=1.1 + 2.0 * 0.5 ** (8 * number / steps) + 0.3 * noise,
        learning_rate=2e-4 * (1 - number / (steps + 1)),
        grad_norm=0.4 + 0.2 * noise,
        tokens=1500 + round(1000 * noise),
        seconds=0.9 + 0.2 * noise,
        train_seconds=number + noise,
        trained_tokens=2000 * number,
        memory_bytes=5_046_586_573 + number // 1000,
    )


async def measure(directory: Path, steps: int, repeats: int) -> tuple[Times, dict[str, float]]:
    """Seconds of each operation, and the bytes of memory before any run was opened and with one open."""
    RoundStore(Workspace(directory)).create()
    cockpit = Cockpit(Workspace(directory), lambda _: None)
    round_ = write_run(cockpit, steps)
    times: Times = {name: [] for name in (OPEN, OPEN_ALONE, *KEYS)}
    memory: dict[str, float] = {}
    app = LoratuiApp(cockpit, directory)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        memory[START_MEMORY] = _memory()
        for _ in range(repeats):
            start = time.perf_counter()
            screen = await _opened(pilot, LiveScreen(cockpit, round_), steps)
            times[OPEN].append(time.perf_counter() - start)
            memory.setdefault(OPEN_MEMORY, _memory())
            screen.query_one(CurveChart).focus()
            await pilot.pause()
            for name, key in KEYS.items():
                start = time.perf_counter()
                await _press(pilot, key)
                times[name].append(time.perf_counter() - start)
            await _left(pilot)
            with _put_aside(cockpit.workspace.run_dir(round_.id).steps):
                start = time.perf_counter()
                await _opened(pilot, LiveScreen(cockpit, round_), steps)
                times[OPEN_ALONE].append(time.perf_counter() - start)
                await _left(pilot)
    return times, memory


async def _opened(pilot: Pilot[str | None], screen: LiveScreen, steps: int) -> LiveScreen:
    """The screen, with all steps painted."""
    pilot.app.push_screen(screen)
    while len(screen.run.curve) < steps:
        await asyncio.sleep(0.005)
    await _painted(pilot)
    return screen


async def _left(pilot: Pilot[str | None]) -> None:
    await pilot.press("escape")
    await pilot.pause()


@contextmanager
def _put_aside(path: Path) -> Iterator[None]:
    """As if there were no such file, which a short run may have none of."""
    aside = path.with_suffix(".aside")
    kept = path.exists()
    if kept:
        path.rename(aside)
    yield
    if kept:
        aside.rename(path)


async def _press(pilot: Pilot[str | None], key: str) -> None:
    """As `Pilot.press`, without its rests."""
    app = pilot.app
    assert isinstance(app, LoratuiApp)
    app.simulate_key(key)
    await asyncio.sleep(0)
    while app.has_typed_ahead:
        await asyncio.sleep(0)
    await _painted(pilot)


async def _painted(pilot: Pilot[str | None]) -> None:
    """Until what was asked for is on the screen."""
    await _called(pilot.app.screen.call_next)
    await _called(pilot.app.screen.query_one(CurveChart).call_after_refresh)
    await _called(pilot.app.screen.call_after_refresh)


async def _called(call: Callable[[Callable[[], None]], object]) -> None:
    done = asyncio.Event()
    call(done.set)
    await done.wait()


def _memory() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss)


def measure_alone(steps: int, repeats: int) -> tuple[Times, dict[str, float]]:
    """As `measure`, in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(measure(Path(directory), steps, repeats))


def rows_of(times: Times) -> list[list[str]]:
    """Medians, minima and what was wanted, if anything, in milliseconds."""
    wanted = {name: f"{value:,.0f}" for name, value in WANTED_MS.items()}
    return [
        [name, f"{1000 * statistics.median(seconds):,.1f}", f"{1000 * min(seconds):,.1f}", wanted.get(name, "")]
        for name, seconds in times.items()
    ]


def verdicts(times: Times) -> list[str]:
    """Which of the wanted figures are met, by the medians."""
    slowest = max(KEYS, key=lambda name: statistics.median(times[name]))
    lines = []
    for name in (OPEN, slowest):
        found = 1000 * statistics.median(times[name])
        word = "met" if found <= WANTED_MS[name] else "**not met**"
        lines.append(f"- {word}: {name} {found:.0f} ms, wanted at most {WANTED_MS[name]:.0f}.")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="1000,1000000", help="lengths of runs (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="how often each is done (default: %(default)s)")
    options = parser.parse_args()
    console = Console(width=120)
    for line in describe_machine("none", 1):
        console.print(line, soft_wrap=True)
    for steps in map(int, options.steps.split(",")):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            times, memory = alone.submit(measure_alone, steps, options.repeats).result()
        console.print(f"\n{steps:,} steps, {SIZE[0]}x{SIZE[1]} cells, milliseconds:\n")
        console.print(markdown_table(["", "median", "least", "wanted"], rows_of(times)))
        before, opened = memory[START_MEMORY] / 1e6, memory[OPEN_MEMORY] / 1e6
        console.print(f"\nmemory: {before:.0f} MB before, {opened:.0f} MB with the run open.")
        for line in verdicts(times) if steps >= WANTED_STEPS else ():
            console.print(line, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The time that a sweep adds to each trial: `python -m benchmarks.sweep [--trials N] [--asks N]`.

A sampler's process is asked for a point after each of the last trials, with all observations, as the runner asks it;
and each time the progress of a sweep of so many trials is worked out from their rounds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from benchmarks.machine import describe_machine
from engine.spec.fields import build_spec
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status, Trial
from engine.sweeps.progress import progress_of
from engine.sweeps.sampling import Sampler
from engine.sweeps.sweep import SamplerName, Sweep

RANGES = {"lora.r": "8, 16, 32", "train.learning_rate": "1e-5..1e-3 log", "lora.lora_alpha": "4..64 step 4"}
SPEC = build_spec({"model.path": "some/model", "data.path": "some/data", "data.samples": 100})
PLAN = make_plan(SPEC, 100)
WANTED_MS = 50.0
WANTED_AMONG = 1000
T = TypeVar("T")
SAMPLERS: tuple[SamplerName, ...] = ("random", "tpe")


def make_trial(number: int, point: dict[str, str], loss: float) -> Round:
    """Make the round of a trial that has finished."""
    return Round(
        id=f"{number:04d}-00c0ffee", number=number, status=Status.FINISHED, spec=SPEC, plan=PLAN,
        trial=Trial(sweep=1, setting=number, point=point), result=Result(eval_loss=loss), started=0.0, ended=60.0,
    )  # fmt: skip


def random_trials(count: int) -> list[Round]:
    """Make trials at random points, always the same."""
    chance = random.Random(0)

    def point() -> dict[str, str]:
        return {
            "lora.r": chance.choice(("8", "16", "32")),
            "train.learning_rate": f"{10 ** chance.uniform(-4.99, -3.01):.3g}",
            "lora.lora_alpha": str(4 * chance.randint(1, 16)),
        }

    return [make_trial(number, point(), chance.uniform(1.0, 2.0)) for number in range(1, count + 1)]


def timed(act: Callable[[], T], times: list[float]) -> T:
    """Return what `act` does, and add the milliseconds that it takes to `times`."""
    began = time.perf_counter()
    outcome = act()
    times.append(1000 * (time.perf_counter() - began))
    return outcome


def measure(name: SamplerName, count: int, asks: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each question for a point, and of each time that the progress is worked out."""
    sweep = Sweep(number=1, ranges=RANGES, spec=SPEC, sampler=name, trials=2 * count, created=0.0)
    trials, sampler = random_trials(count), Sampler()
    asking: list[float] = []
    working_out: list[float] = []
    try:
        sampler.next_point(progress_of(sweep, trials[:-asks]))  # it starts the process, once for a sweep
        for number in range(count - asks, count):
            progress = timed(partial(progress_of, sweep, trials[:number]), working_out)
            timed(partial(sampler.next_point, progress), asking)
    finally:
        sampler.close()
    return asking, working_out


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.sweep", description=__doc__)
    parser.add_argument("--trials", type=int, default=WANTED_AMONG)
    parser.add_argument("--asks", type=int, default=30)
    options = parser.parse_args()
    for line in describe_machine("none", 1):
        print(line)
    for name in SAMPLERS:
        asking, working_out = measure(name, options.trials, options.asks)
        cost = statistics.median(asking) + statistics.median(working_out)
        parts = (
            f"{part} {statistics.median(times):.1f} ms (at least {min(times):.1f})"
            for part, times in (
                ("point", asking),
                ("progress", working_out),
            )
        )
        print(f"{name}, {options.trials:,} trials: {', '.join(parts)}")
        print(f"  {'met' if cost <= WANTED_MS else 'not met'}: {cost:.1f} ms a trial, wanted at most {WANTED_MS:.0f}")


if __name__ == "__main__":
    main()

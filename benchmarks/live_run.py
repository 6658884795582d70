"""A run that goes on while it is watched: `python -m benchmarks.live_run WORKSPACE [--pace N] [--history N]`.

It takes a new round of the workspace as the queue runner and the engine would, and appends its events without training
anything. Its figures are the same at every run; `benchmarks.step_lines` gives the same to the peers.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from benchmarks.store import make_round
from engine.files.paths import RunDir, Workspace
from engine.runs.engine_contract import Heartbeat
from engine.runs.event_log import EventWriter
from engine.runs.events import Evaluated, Phase, Prepared, Started, Step
from engine.spec.round import Round, Status
from engine.store.round_store import RoundStore
from engine.system.process import own_identity

TOTAL_STEPS = 20_000
EVALUATE_EVERY = 500
LOG_EVERY = 20
TOKENS_PER_STEP = 2048
SECONDS_PER_STEP = 0.05


def loss_at(step: int, chance: random.Random) -> float:
    """A training loss as they look: it falls along an exponential, and jitters."""
    return 0.9 + 1.6 * math.exp(-step / 2500) + chance.gauss(0.0, 0.12)


def learning_rate_at(step: int, total: int) -> float:
    """Warm-up over the first fortieth, then a cosine."""
    warmup = total // 40
    if step < warmup:
        return 2e-4 * step / warmup
    return 1e-4 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def steps_of(total: int) -> Iterator[Step]:
    """All step events of a run, as if it had begun now."""
    chance, start = random.Random(1), time.time()
    for step in range(1, total + 1):
        yield Step(
            time=start + step * SECONDS_PER_STEP,
            step=step,
            epoch=3 * step / total,
            loss=loss_at(step, chance),
            learning_rate=learning_rate_at(step, total),
            grad_norm=abs(chance.gauss(0.6, 0.1)),
            tokens=TOKENS_PER_STEP + chance.randrange(-200, 200),
            seconds=SECONDS_PER_STEP,
            train_seconds=step * SECONDS_PER_STEP,
            trained_tokens=step * TOKENS_PER_STEP,
            memory_bytes=5_046_586_573 + chance.randrange(0, 2) * 2**20,
        )


def steps_at_pace(pace: float, history: int, total: int) -> Iterator[Step]:
    """As `steps_of`: the first `history` at once, the others as their times come, `pace` a second."""
    began = time.monotonic()
    for step in steps_of(total):
        if step.step == history:
            began = time.monotonic()
        elif step.step > history:
            time.sleep(max(0.0, began + (step.step - history) / pace - time.monotonic()))
        yield step


def begin(run: RunDir, total: int) -> EventWriter:
    """Write what comes before the first step."""
    run.path.mkdir(parents=True, exist_ok=True)
    writer = EventWriter(run.events)
    now = time.time()
    writer.append(Started(time=now, process=own_identity()))
    writer.append(
        Prepared(
            time=now, device="cuda", dtype="bfloat16", parameters=1_101_174_784, trainable_parameters=1_126_400,
            train_samples=2340, eval_samples=260, total_steps=total, steps_per_epoch=total // 3,
        )
    )  # fmt: skip
    writer.append(Evaluated(time=now, step=0, eval_loss=2.5, perplexity=12.18, supervised_tokens=30_000))
    writer.append(Phase(time=now, name="training"))
    return writer


def add_running(workspace: Workspace) -> Round:
    """A new round of the workspace that this process trains."""

    def make(number: int) -> Round:
        changes = {"status": Status.RUNNING, "process": own_identity(), "started": time.time(), "ended": None}
        return make_round(number, **changes)

    return RoundStore(workspace).add(make)


def write_steps(run: RunDir, steps: Iterator[Step], total: int) -> None:
    """Append a run's events, an evaluation and a line of the log now and then."""
    writer = begin(run, total)
    with Heartbeat(run.heartbeat), run.log.open("a", buffering=1) as log:
        for event in steps:
            writer.append(event)
            if event.step % EVALUATE_EVERY == 0:
                loss = 1.0 + 1.5 * math.exp(-event.step / 2500)
                writer.append(
                    Evaluated(
                        time=event.time, step=event.step, eval_loss=loss, perplexity=math.exp(loss),
                        supervised_tokens=30_000,
                    )
                )  # fmt: skip
            if event.step % LOG_EVERY == 0:
                print(f"step {event.step}: loss {event.loss:.4f}", file=log)
    writer.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many steps, and how fast."""
    parser.add_argument("--pace", type=float, default=20.0, help="steps a second (default: %(default)s)")
    parser.add_argument("--history", type=int, default=0, help="steps taken before, at once (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=TOTAL_STEPS, help="where it ends (default: %(default)s)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    add_arguments(parser)
    options = parser.parse_args()
    workspace = Workspace(options.workspace)
    workspace.runs_dir.mkdir(exist_ok=True)
    with FileLock(workspace.runner_lock):  # who holds it is the runner: a front end starts no other
        round_ = add_running(workspace)
        steps = steps_at_pace(options.pace, options.history, options.steps)
        write_steps(workspace.run_dir(round_.id), steps, options.steps)
        RoundStore(workspace).update(round_.number, status=Status.FINISHED, process=None, ended=time.time())
    return 0


if __name__ == "__main__":
    sys.exit(main())

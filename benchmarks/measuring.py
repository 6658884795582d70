"""One contender, one run: a process of its own, and the figures it leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.contenders import CONTENDERS
from benchmarks.marks import STEP, evaluated_seconds, read_marks, step_flops, step_seconds
from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import Failed, Prepared
from engine.spec.schema import Spec

ROOT = Path(__file__).resolve().parents[1]
LOG_LINES = 15


class BenchmarkError(Exception):
    """What was to be compared cannot be; says why."""


class Figures(Struct, frozen=True):
    """One timed run.

    Attributes:
        contender: its name.
        wall_seconds: from the start of its process to its end.
        cpu_seconds: of all its threads, which other work on the machine changes less than the wall time.
        first_step_seconds: from the start of its process to the end of its first optimizer step.
        step_seconds: of each optimizer step; evaluations and checkpoints are left out.
        evaluated_seconds: from the beginning of the first step to the end of the last evaluation.
        peak_memory_bytes: `torch.cuda.max_memory_allocated` on CUDA, else its highest resident size (getrusage(2)).
        estimated_memory_bytes: the peak as it was estimated before the first step, None where nobody did.
    """

    contender: str
    wall_seconds: float
    cpu_seconds: float
    first_step_seconds: float
    step_seconds: list[float]
    evaluated_seconds: float
    peak_memory_bytes: int
    estimated_memory_bytes: int | None = None

    @property
    def training_seconds(self) -> float:
        """All steps together."""
        return sum(self.step_seconds)


class Ended(Struct, frozen=True):
    """A process that ended well: when it was started, how long it ran and computed, its highest resident size."""

    started: float
    seconds: float
    cpu_seconds: float
    resident_bytes: int


def environment(directory: Path, device: str, threads: int) -> dict[str, str]:
    """What every contender is given alike: threads, device, no network, and caches of its own that are empty."""
    chosen = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    search = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **chosen,
        "PYTHONPATH": os.pathsep.join(search),
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "10000",  # this engine sets it for itself: the peers get its gain beside other work too
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(directory / "cache"),
        "HF_HOME": str(directory / "cache" / "huggingface"),
    }


def run_process(command: list[str], directory: Path, variables: Mapping[str, str], log: Path) -> Ended:
    """Run to the end in a session of its own; nothing of it outlives this call, whatever ends that.

    Raises:
        BenchmarkError: it failed; ends with the last lines of its log.
    """
    with log.open("wb") as errors, (directory / "output").open("wb") as output:
        started, clock = time.time(), time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=directory,
            env=dict(variables),
            start_new_session=True,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = time.perf_counter() - clock
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        raise BenchmarkError(f"{' '.join(command)} ended with {process.returncode}, see {log}:\n{tail}")
    resident = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Ended(started, seconds, usage.ru_utime + usage.ru_stime, resident)


def make_run(directory: Path, spec: Spec) -> RunDir:
    """A fresh run directory for the round of `spec`."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    run = RunDir(directory)
    run.spec.write_bytes(msgspec.json.encode({"id": directory.name, "number": 1, "spec": spec}))
    return run


def _train(command: list[str], run: RunDir, variables: Mapping[str, str], contender: str) -> Ended:
    try:
        ended = run_process(command, run.path, variables, run.log)
    except BenchmarkError as error:
        failed = next((event for event in read_events(run.events) if isinstance(event, Failed)), None)
        raise BenchmarkError(f"{contender}: {failed.message}" if failed else f"{contender}: {error}") from error
    if not run.adapter.is_dir():
        raise BenchmarkError(f"{contender} left no adapter at {run.adapter}, see {run.log}")
    return ended


def time_contender(contender: str, run: RunDir, variables: Mapping[str, str], device: str) -> Figures:
    """Train the round of `run` and say how long it took; raises BenchmarkError if it failed."""
    module, *arguments = CONTENDERS[contender]
    ended = _train([sys.executable, "-P", "-m", module, str(run.path), *arguments], run, variables, contender)
    marks = read_marks(run)
    on_device = [mark.peak_memory_bytes for mark in marks if mark.peak_memory_bytes is not None]
    first = next(mark for mark in marks if mark.kind == STEP)
    return Figures(
        contender=contender,
        wall_seconds=ended.seconds,
        cpu_seconds=ended.cpu_seconds,
        first_step_seconds=first.time - ended.started,
        step_seconds=step_seconds(marks),
        evaluated_seconds=evaluated_seconds(marks),
        peak_memory_bytes=max(on_device) if device == "cuda" else ended.resident_bytes,
        estimated_memory_bytes=next(
            (event.estimated_memory_bytes for event in read_events(run.events) if isinstance(event, Prepared)), None
        ),
    )


def count_contender(contender: str, run: RunDir, variables: Mapping[str, str]) -> int:
    """Train the round of `run` again to count the operations of its steps; raises BenchmarkError if it failed."""
    module, *arguments = CONTENDERS[contender]
    command = [sys.executable, "-P", "-m", "benchmarks.counted", module, str(run.path), *arguments]
    _train(command, run, variables, contender)
    return step_flops(read_marks(run))


def ask(module: str, arguments: list[str], directory: Path, variables: Mapping[str, str]) -> bytes:
    """What a module of ours prints; raises BenchmarkError if it failed."""
    directory.mkdir(exist_ok=True)
    run_process([sys.executable, "-P", "-m", module, *arguments], directory, variables, directory / "log")
    return (directory / "output").read_bytes()

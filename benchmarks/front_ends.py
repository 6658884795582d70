"""Who is compared on the terminal: how each is started, given a run, and asked for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import ROOT, BenchmarkError
from benchmarks.store import make_round
from engine.files.paths import Workspace
from engine.store.round_store import RoundStore

PEERS = ROOT / ".venv-peers" / "bin"
LORATUI = Path(sys.executable).with_name("loratui")
ENDING_SECONDS = 10.0
READY_SECONDS = 60.0
WRITERS = ROOT / "benchmarks" / "peers"


class Run(NamedTuple):
    """How a run is written: so many steps at once, then `pace` a second until `steps`."""

    history: int
    steps: int
    pace: float = 20.0

    @property
    def options(self) -> list[str]:
        """For `benchmarks.live_run` and `benchmarks.step_lines`."""
        return ["--history", str(self.history), "--steps", str(self.steps), "--pace", str(self.pace)]


class FrontEnd(ABC):
    """One program that shows runs.

    Attributes:
        name: as it stands in the table.
        painted: what stands on its first painted screen.
        to_run: keys from there to the run.
        keys: pressed in turn on that first screen.
        run_keys: pressed in turn where the run is shown. Each must change the screen wherever those before it have led:
            the delay of one that changes nothing would be the time to the next redraw.
    """

    name: str
    painted: str
    to_run = ""
    keys: Sequence[str]
    run_keys: Sequence[str]

    @abstractmethod
    def prepare(self, directory: Path, variables: Mapping[str, str]) -> None:
        """Make what lies in `directory` before any run is written."""

    @abstractmethod
    def writer(self, directory: Path, run: Run) -> list[list[str]]:
        """Commands that write `run` there, each into the next one."""

    @abstractmethod
    def runs(self, directory: Path) -> list[Path]:
        """The files that the steps of the runs there are in."""

    @abstractmethod
    def command(self, directory: Path) -> list[str]:
        """What opens the run that was written last."""

    @abstractmethod
    def shows(self, run: Run) -> str:
        """What stands on the screen once the whole of a run that has ended is shown."""


class Loratui(FrontEnd):
    """This app over a workspace of so many rounds besides the run."""

    to_run = "\r"
    keys = ("k", "k", "j", "j")
    run_keys = ("g", "+", "l", "-")  # to the first value, closer, a cell to the right, and back to the whole curve

    def __init__(self, rounds: int, name: str) -> None:
        self.rounds = rounds
        self.name = name
        self.painted = f"alpaca-{rounds + 1}"

    def prepare(self, directory: Path, variables: Mapping[str, str]) -> None:
        workspace = Workspace(directory)
        workspace.runs_dir.mkdir()
        RoundStore(workspace).create(tuple(make_round(number) for number in range(1, self.rounds + 1)))

    def writer(self, directory: Path, run: Run) -> list[list[str]]:
        return [[sys.executable, "-P", "-m", "benchmarks.live_run", str(directory), *run.options]]

    def runs(self, directory: Path) -> list[Path]:
        return sorted(directory.glob("runs/*/events.jsonl"))

    def command(self, directory: Path) -> list[str]:
        return [str(LORATUI), str(directory)]

    def shows(self, run: Run) -> str:
        return f"step {run.steps:,}/{run.steps:,}"


class Peer(FrontEnd):
    """A viewer that opens the run it is given, whose own library logs the steps."""

    log: str

    def prepare(self, directory: Path, variables: Mapping[str, str]) -> None:
        pass

    def writer(self, directory: Path, run: Run) -> list[list[str]]:
        lines = [sys.executable, "-P", "-m", "benchmarks.step_lines", *run.options]
        return [lines, [str(PEERS / "python"), str(WRITERS / self.log), str(directory)]]


class Leet(Peer):
    """Weights & Biases' LEET over a run of `mode="offline"`."""

    name = "LEET"
    painted = "train/loss"
    keys = run_keys = ("s", "s", "w", "w")
    log = "log_to_wandb.py"

    def runs(self, directory: Path) -> list[Path]:
        return sorted(directory.glob("wandb/offline-run-*/*.wandb"))

    def command(self, directory: Path) -> list[str]:
        return [str(PEERS / "wandb"), "leet", "run", str(self.runs(directory)[-1])]

    def shows(self, run: Run) -> str:
        return "State: Finished"


class Terminalboard(Peer):
    """terminalboard over a directory of TensorBoard events."""

    name = "terminalboard"
    painted = "train/loss"
    keys = run_keys = ("\x1b[C", "\x1b[C", "\x1b[D", "\x1b[D")
    log = "log_to_tensorboard.py"

    def runs(self, directory: Path) -> list[Path]:
        return sorted(directory.glob("events.out.*"))

    def command(self, directory: Path) -> list[str]:
        return [str(PEERS / "terminalboard"), str(directory)]

    def shows(self, run: Run) -> str:
        return self.painted


def variables(home: Path) -> dict[str, str]:
    """The environment of all: a home of its own without settings, and no word to the network."""
    return {
        **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "TMUX", "NO_COLOR")},
        **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "STATE", "DATA")},
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
    }


@contextlib.contextmanager
def written(front_end: FrontEnd, directory: Path, run: Run, env: Mapping[str, str]) -> Iterator[Callable[[], None]]:
    """Write a run for as long as the context lasts; what it gives waits until the run has ended by itself."""
    processes: list[subprocess.Popen[bytes]] = []
    with (directory / "writer.log").open("ab") as log:
        for command in front_end.writer(directory, run):
            source = processes[-1].stdout if processes else subprocess.DEVNULL
            target = subprocess.PIPE if len(processes) + 1 < len(front_end.writer(directory, run)) else log
            processes.append(
                subprocess.Popen(command, stdin=source, stdout=target, stderr=log, cwd=directory, env=dict(env))
            )

    def ended() -> None:
        for process in processes:
            if process.wait():
                raise BenchmarkError(f"the run for {front_end.name} was not written: see {directory / 'writer.log'}")

    try:
        yield ended
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_run(front_end: FrontEnd, directory: Path) -> None:
    """Wait until there is a run to open; BenchmarkError if none comes."""
    end = time.monotonic() + READY_SECONDS
    while not any(path.stat().st_size for path in front_end.runs(directory)):
        if time.monotonic() > end:
            raise BenchmarkError(f"no run for {front_end.name} came into being: see {directory / 'writer.log'}")
        time.sleep(0.1)

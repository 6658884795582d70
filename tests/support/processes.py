"""Processes that tests start: whether they live, and their end."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil

from engine.files.paths import Workspace
from engine.runner.launcher import START, StartedRunner, start_runner
from tests.support.fake_runner import RUNNER_COMMAND

ROOT = Path(__file__).resolve().parents[2]


def is_running(process: psutil.Process) -> bool:
    """Whether a process lives; one that ended and was not yet reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_of(directory: Path) -> list[psutil.Process]:
    """Live processes with a path under `directory` among their arguments: its runners and engines."""
    found = []
    for pid in psutil.pids():
        try:
            # Read here, as psutil takes 7 ms for 100 processes, and a thousand tests look.
            if str(directory).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue
            process = psutil.Process(pid)
            if is_running(process) and any(str(directory) in word for word in process.cmdline()[1:]):
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def end_processes_of(directory: Path) -> None:
    """Kill what still runs for `directory`, until a look round finds nothing more."""
    while found := processes_of(directory):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.01)


def printed_by_runners(workspace: Workspace) -> str:
    """Return the runner's log without the lines on when one was started."""
    lines = workspace.runner_log.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not START.fullmatch(line.strip()))


def start_fake_runner(workspace: Workspace) -> StartedRunner | None:
    """As `start_runner`, with the fake engine in the engine's place."""
    return start_runner(workspace, RUNNER_COMMAND)

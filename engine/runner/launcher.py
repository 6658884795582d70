"""Start the detached runner of a workspace, and check whether one is at work."""

from __future__ import annotations

import subprocess
import sys
import threading

from filelock import FileLock, Timeout

from engine.files.paths import Workspace
from engine.spec.round import ACTIVE, Round, Status

UNFINISHED = ACTIVE | {Status.QUEUED}


def start_runner(workspace: Workspace, command: list[str] | None = None) -> None:
    """Start a detached runner, which trains the queue, unless one is at work.

    It survives this process, its terminal and its SSH session: own session, no inherited terminal or pipe.
    """
    if runner_is_alive(workspace):
        return
    workspace.runs_dir.mkdir(exist_ok=True)
    with workspace.runner_log.open("ab") as log:
        process = subprocess.Popen(
            [*(command or [sys.executable, "-P", "-m", "engine.runner"]), str(workspace.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=workspace.root,
        )
    threading.Thread(target=process.wait, name="reap the runner", daemon=True).start()


def runner_is_alive(workspace: Workspace) -> bool:
    """Return True if a runner holds the workspace's lock."""
    if not workspace.runner_lock.exists():
        return False
    try:
        with FileLock(workspace.runner_lock, timeout=0):
            return False
    except Timeout:
        return True


def needs_runner(rounds: list[Round]) -> bool:
    """Return True if any of the rounds waits to be trained, or for its end to be recorded."""
    return any(round_.status in UNFINISHED for round_ in rounds)

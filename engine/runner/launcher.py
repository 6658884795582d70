"""Start the detached runner of a workspace, and see whether one is at work, and why one that was started is not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import FileError, LoratuiError, reason_of
from engine.files.append import open_to_append
from engine.files.atomic import NoPlainFile, open_plain
from engine.files.ownership import make_directory
from engine.files.paths import Workspace
from engine.spec.round import ACTIVE, Round, Status
from engine.system.locks import acquire_inheritable_lock
from engine.system.process import has_open, identify

RUNNER_LOCK_VARIABLE = "LORATUI_RUNNER_LOCK_FD"
UNFINISHED = ACTIVE | {Status.QUEUED}
START = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d runner started")
TAIL_BYTES = 4096
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
SURVIVAL_SECONDS = 60.0


class StartedRunner:
    """A runner that this process has started."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, log_bytes: int) -> None:
        """`log_bytes` is the size that the log had when it was started."""
        self._process = process
        self._log = log
        self._log_bytes = log_bytes
        threading.Thread(target=process.wait, name="reap the runner", daemon=True).start()

    def failure(self) -> str:
        """Say how it died and what it printed last; "" while it lives, or if it ended with nothing left to do."""
        code = self._process.poll()
        if not code:
            return ""
        end = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        line = _last_line(self._log, self._log_bytes)
        return f"the runner {end}" + (f" ({line})" if line else "") + f": see {self._log}"


class RunnerRestarts:
    """Starts a runner where a round waits for one, again if it dies, and after a longer pause each time.

    Attributes:
        trouble: why no runner is at work, in a sentence; "" if one is, or if none is needed.
        deaths: how many in a row died within `SURVIVAL_SECONDS`.
    """

    def __init__(
        self, wake: Callable[[], object], failure: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`wake` starts a runner if one is needed and none is at work; `failure` says how the last one started died."""
        self._wake = wake
        self._failure = failure
        self._clock = clock
        self._next_start = clock()
        self._restart_at = 0.0
        self._is_counted = self._is_refused = False
        self.trouble = ""
        self.deaths = 0

    def look(self) -> None:
        """Do what is due; for a caller that comes back every second or so.

        Raises:
            LoratuiError: from `wake`; the next call tries again after the pause.
        """
        now = self._clock()
        failure = self._failure()
        if failure and not self._is_counted:
            self._is_counted = True
            self.deaths += 1
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (self.deaths - 1), LONGEST_PAUSE_SECONDS)
            self._next_start = self._restart_at = now + pause
            self.trouble = f"{failure}; another one is started after {pause:.0f} s"
        elif not failure and not self._is_refused and now >= self._restart_at + FIRST_PAUSE_SECONDS:
            self.trouble = ""
            if now >= self._restart_at + SURVIVAL_SECONDS:
                self.deaths = 0
        if now >= self._next_start:
            self._next_start = now + FIRST_PAUSE_SECONDS
            self._is_counted = self._is_refused = False
            try:
                self._wake()
            except LoratuiError as error:
                self._is_refused, self.trouble = True, error.message
                raise


def start_runner(workspace: Workspace, command: list[str] | None = None) -> StartedRunner | None:
    """Start a detached runner, which trains the queue, unless one is at work.

    It survives this process, its terminal and its SSH session: own session, no inherited terminal or pipe. It inherits
    the workspace's lock, so that it counts as at work from the first moment on, while it still imports.
    """
    make_directory(workspace.runs_dir)
    try:
        lock = acquire_inheritable_lock(workspace.runner_lock)
    except OSError as error:
        raise _unusable(workspace.runner_lock, error) from error
    if lock is None:
        return None
    try:
        with open(open_to_append(workspace.runner_log), "ab") as log:
            log.write(time.strftime("%Y-%m-%d %H:%M:%S runner started\n").encode())
            log.flush()
            log_bytes = log.tell()  # before the runner writes, which moves the place in the file that both have open
            process = subprocess.Popen(
                [*(command or [sys.executable, "-P", "-m", "engine.runner"]), str(workspace.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=workspace.root,
                pass_fds=(lock,),
                env={**os.environ, RUNNER_LOCK_VARIABLE: str(lock)},
            )
            return StartedRunner(process, workspace.runner_log, log_bytes)
    finally:
        os.close(lock)


def runner_is_alive(workspace: Workspace) -> bool:
    """Return True if a runner holds the workspace's lock; raises FileError if the lock cannot be looked at."""
    if not workspace.runner_lock.exists():
        return False
    from filelock import FileLock, Timeout

    try:
        with FileLock(workspace.runner_lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise _unusable(workspace.runner_lock, error) from error


def stopped_runner(workspace: Workspace) -> str:
    """Say that a signal has stopped the runner (SIGSTOP, a debugger, a frozen session); "" if that is not so."""
    import psutil

    for process in psutil.process_iter(["status"]):
        if process.info["status"] in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            identity = identify(process.pid)
            if identity is not None and has_open(identity, workspace.runner_lock):
                return (
                    f"the runner (process {process.pid}) is stopped, and nothing is trained until it goes on: "
                    f"`kill -CONT {process.pid}`"
                )
    return ""


def _unusable(lock: Path, error: OSError) -> FileError:
    return FileError(f"{lock} cannot be used as a lock: {reason_of(error)}")


def why_idle(workspace: Workspace, rounds: list[Round]) -> str:
    """Say that rounds wait although no runner is at work, and what the last one printed; "" if that is not so.

    Raises:
        FileError: the lock cannot be looked at.
    """
    count = sum(round_.status in UNFINISHED for round_ in rounds)
    if not count or runner_is_alive(workspace):
        return ""
    line = _last_line(workspace.runner_log)
    last = f" (the last one printed: {line})" if line else ""
    log = f": see {workspace.runner_log}" if workspace.runner_log.exists() else ""
    return f"no runner is at work for {count} unfinished round{'s' * (count != 1)}{last}{log}"


def _last_line(log: Path, begin: int = 0) -> str:
    """Return the last line that a runner printed after `begin`; "" if the last one that was started printed nothing."""
    try:
        with open_plain(log) as file:
            size = file.seek(0, 2)
            file.seek(max(begin, size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode(errors="replace").split("\n")
    except (OSError, NoPlainFile):
        return ""
    line = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "" if START.fullmatch(line) else line


def needs_runner(rounds: list[Round]) -> bool:
    """Return True if any of the rounds waits to be trained, or for its end to be recorded."""
    return any(round_.status in UNFINISHED for round_ in rounds)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

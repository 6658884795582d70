"""The process of an engine, as the runner sees it: start or find it, watch it, stop it, and clear away its children.

The lock of the run directory is acquired before the engine exists and is inherited by it: if the lock is free, no
engine trains the round; if it is locked, one does, even if no runner lived to write down which.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

from engine.files.ownership import make_directory
from engine.files.paths import RunDir
from engine.runner.gpu_slots import GPU_VARIABLE
from engine.runner.liveness import LivenessMonitor, Stall, StallLimits
from engine.runs.curve import Steps
from engine.runs.engine_contract import LOCK_VARIABLE, RUN_VARIABLE, run_key
from engine.runs.events import AnyEvent
from engine.runs.run_tail import RunTail
from engine.system.locks import acquire_inheritable_lock, is_locked
from engine.system.process import ProcessIdentity, has_open, identify, is_alive, processes_with, send_signal

GRACE_SECONDS = 60.0
INSIST_SECONDS = 5.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.05


class RunningEngine:
    """The engine of one run.

    Attributes:
        key: the value of `RUN_VARIABLE` in its environment and that of its children.
        exit_code: negative for a signal; None while it runs, and for an engine that an earlier runner started.
        killed: the reason why it was killed, "" if it was not.
        pids: those of the engine and its children, as far as they were seen.
    """

    def __init__(self, run: RunDir, limits: StallLimits | None = None) -> None:
        self.run = run
        self.key = run_key(run)
        self.exit_code: int | None = None
        self.killed = ""
        self.pids: set[int] = set()
        self._child: subprocess.Popen[bytes] | None = None
        self._process: ProcessIdentity | None = None
        self._monitor = LivenessMonitor(run, limits)
        self._tail = RunTail(run.events)
        self._new_events: list[AnyEvent | Steps] = []
        self._read_events()
        self._deadline: float | None = None
        self._interrupted_at = 0.0

    @property
    def process(self) -> ProcessIdentity | None:
        """The engine's identity; None while it is not known, or when the engine is gone."""
        if self._process is None:
            members = processes_with(RUN_VARIABLE, self.key) if self.key else []
            self._process = next((member for member in members if _leads_its_session(member)), None)
        return self._process

    def adopt(self, process: ProcessIdentity | None) -> None:
        """Take `process`, the last one that trained the round, as the engine if it holds the lock of this directory.

        A copy of a workspace records the engine of the original, which is not to be watched, stopped or killed here.
        """
        if process is not None and has_open(process, self.run.lock):
            self._process = process

    def begin(self, child: subprocess.Popen[bytes]) -> None:
        """Take a child that was just started as the engine; only its parent gets its exit code."""
        self._child, self._process = child, identify(child.pid)

    def is_running(self) -> bool:
        if self._child is not None:
            self.exit_code = self._child.poll()
            return self.exit_code is None
        process = self.process
        return is_alive(process) if process is not None else is_locked(self.run.lock)

    def _read_events(self) -> None:
        events = self._tail.poll()
        self._monitor.take(events)
        self._new_events += events

    def new_events(self) -> list[AnyEvent | Steps]:
        """Return the run's events since the last call, at the first call all; raises OSError if they cannot be read."""
        self._read_events()
        events, self._new_events = self._new_events, []
        return events

    def stall(self) -> Stall | None:
        """Return the sign of life that has been missing for too long, None if there is one."""
        return self._monitor.look()

    def stop(self) -> None:
        """Interrupt it, so that it ends after its step; repeated calls kill an engine that takes too long."""
        process, now = self.process, time.monotonic()
        if process is None:
            return  # it has only just been forked: the next call interrupts it
        if self._deadline is None:
            self._deadline = now + GRACE_SECONDS + 2 * self._monitor.step_seconds
        if now > self._deadline:
            self.kill(f"did not stop within {GRACE_SECONDS:.0f} s")
        elif now >= self._interrupted_at + INSIST_SECONDS or not self._interrupted_at:
            self._interrupted_at = now  # repeated, as an engine that is starting may not handle it yet
            send_signal(process, signal.SIGINT)
            send_signal(process, signal.SIGCONT)  # a frozen process receives no signals

    def kill(self, reason: str) -> None:
        """Kill it and its children at once, after it has written its stacks to the log."""
        self.killed = self.killed or reason
        if (process := self.process) is not None and send_signal(process, signal.SIGCONT):
            send_signal(process, signal.SIGUSR2)  # which writes the stacks of its threads into the log
            _wait(lambda: not self.is_running(), 1.0)
        if process is not None:
            send_signal(process, signal.SIGKILL)
        self.clear_away()

    def clear_away(self) -> bool:
        """Kill the children that the engine left behind; return True if none remains."""
        members: list[ProcessIdentity] = []

        def none_left() -> bool:
            members[:] = processes_with(RUN_VARIABLE, self.key) if self.key else []
            for member in members:
                self.pids.add(member.pid)
                send_signal(member, signal.SIGKILL)
            return not members

        return _wait(none_left, KILL_SECONDS)


def launch(run: RunDir, command: list[str], gpu: str | None, limits: StallLimits | None = None) -> RunningEngine | None:
    """Start an engine in a session of its own, on one GPU if `gpu` names one; None if the round has an engine already.

    It has no terminal and no pipe, and outlives this process.

    Raises:
        OSError: it cannot be started, or the run's earlier events cannot be read.
    """
    make_directory(run.path, parents=True)
    engine = RunningEngine(run, limits)
    lock = acquire_inheritable_lock(run.lock)
    if lock is None:
        return None
    environment = {**os.environ, RUN_VARIABLE: engine.key, LOCK_VARIABLE: str(lock)}
    if gpu is not None:
        environment[GPU_VARIABLE] = gpu
    try:
        with run.open_log() as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                cwd=run.path, pass_fds=(lock,), env=environment,
            )  # fmt: skip
    finally:
        os.close(lock)
    engine.begin(child)
    return engine


def _leads_its_session(process: ProcessIdentity) -> bool:
    try:
        return os.getsid(process.pid) == process.pid
    except OSError:
        return False


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until `condition` is true; return False if it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True

"""One engine at work, seen by the runner: started or found again, watched, told to stop, and gone with all it started.

The lock of the run directory is taken before the engine exists and is handed to it: whoever finds it free knows that no
engine trains the round, and whoever finds it held that one does, even if nobody lived to write down which.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

from engine.files.paths import RunDir
from engine.runner.gpu_slots import GPU_VARIABLE
from engine.runner.liveness import LivenessMonitor, Stall, StallLimits
from engine.runs.curve import Steps
from engine.runs.engine_contract import LOCK_VARIABLE, RUN_VARIABLE
from engine.runs.events import AnyEvent
from engine.runs.run_tail import RunTail
from engine.system.locks import acquire_inheritable_lock, is_locked
from engine.system.process import ProcessIdentity, identify, is_alive, processes_with, send_signal

GRACE_SECONDS = 60.0
INSIST_SECONDS = 5.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.05


class RunningEngine:
    """The engine of one run.

    Attributes:
        exit_code: negative for a signal; None while it runs, and for an engine that an earlier runner started.
        killed: why it had to be killed, "" if it was not.
        pids: those of the engine and of what it has started, as far as they were seen.
    """

    def __init__(self, run: RunDir, patience: StallLimits | None = None) -> None:
        self.run = run
        self.exit_code: int | None = None
        self.killed = ""
        self.pids: set[int] = set()
        self._child: subprocess.Popen[bytes] | None = None
        self._known: ProcessIdentity | None = None
        self._pulse = LivenessMonitor(run, patience)
        self._tail = RunTail(run.events)
        self._new_events: list[AnyEvent | Steps] = []
        self._read_events()
        self._deadline: float | None = None
        self._asked_at = 0.0

    @property
    def process(self) -> ProcessIdentity | None:
        """Who the engine is; None while that is not known, or when it is gone."""
        if self._known is None:
            members = processes_with(RUN_VARIABLE, str(self.run.path))
            self._known = next((member for member in members if _leads_its_session(member)), None)
        return self._known

    def adopt(self, process: ProcessIdentity | None) -> None:
        """Take `process`, which the round was last trained by, for the engine if it lives."""
        if process is not None and is_alive(process):
            self._known = process

    def begin(self, child: subprocess.Popen[bytes]) -> None:
        """Take a child that was just started for the engine; its parent alone learns its exit code."""
        self._child, self._known = child, identify(child.pid)

    def is_running(self) -> bool:
        if self._child is not None:
            self.exit_code = self._child.poll()
            return self.exit_code is None
        process = self.process
        return is_alive(process) if process is not None else is_locked(self.run.lock)

    def _read_events(self) -> None:
        events = self._tail.poll()
        self._pulse.take(events)
        self._new_events += events

    def new_events(self) -> list[AnyEvent | Steps]:
        """Return the run's events since the last call, at the first call all; raises OSError if they cannot be read."""
        self._read_events()
        events, self._new_events = self._new_events, []
        return events

    def stall(self) -> Stall | None:
        """What sign of life has been missing for too long."""
        return self._pulse.look()

    def stop(self) -> None:
        """Ask it to end after its step, for as long as this is called; kill it when that took too long."""
        process, now = self.process, time.monotonic()
        if process is None:
            return  # it has only just been forked, and is asked once it can be
        if self._deadline is None:
            self._deadline = now + GRACE_SECONDS + 2 * self._pulse.step_seconds
        if now > self._deadline:
            self.kill(f"did not stop within {GRACE_SECONDS:.0f} s")
        elif now >= self._asked_at + INSIST_SECONDS or not self._asked_at:
            self._asked_at = now  # again and again, as one that is being started may not listen yet
            send_signal(process, signal.SIGINT)
            send_signal(process, signal.SIGCONT)  # one that was frozen could not hear

    def kill(self, reason: str) -> None:
        """End it with all that it started, at once; the log gets to know where it was."""
        self.killed = self.killed or reason
        if (process := self.process) is not None and send_signal(process, signal.SIGCONT):
            send_signal(process, signal.SIGUSR2)  # which writes the stacks of its threads into the log
            _wait(lambda: not self.is_running(), 1.0)
        if process is not None:
            send_signal(process, signal.SIGKILL)
        self.clear_away()

    def clear_away(self) -> bool:
        """Kill what the engine has left behind; whether nothing is left."""
        members: list[ProcessIdentity] = []

        def none_left() -> bool:
            members[:] = processes_with(RUN_VARIABLE, str(self.run.path))
            for member in members:
                self.pids.add(member.pid)
                send_signal(member, signal.SIGKILL)
            return not members

        return _wait(none_left, KILL_SECONDS)


def launch(
    run: RunDir, command: list[str], gpu: str | None, patience: StallLimits | None = None
) -> RunningEngine | None:
    """Start an engine in a session of its own, on one GPU if one is named; None if the round has one already.

    It has no terminal and no pipe, and is not ended with this process.

    Raises:
        OSError: it cannot be started, or what the run has said before cannot be read.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    engine = RunningEngine(run, patience)
    lock = acquire_inheritable_lock(run.lock)
    if lock is None:
        return None
    environment = {**os.environ, RUN_VARIABLE: str(run.path), LOCK_VARIABLE: str(lock)}
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
    """Whether `condition` has come to hold within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True

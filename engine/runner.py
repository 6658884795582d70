"""The queue runner: one detached process per workspace that trains what is queued, round after round.

It holds a lock for as long as it lives, is started by whichever front end queues work, records each result whether or
not anyone watches, and ends when nothing is queued. A round that was running when a runner died is taken over: its
engine is awaited if it lives, and recorded from its events if it does not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from engine.errors import RoundError
from engine.events import Started
from engine.process import ProcessIdentity, identify, is_alive, send_signal
from engine.rounds import ACTIVE, Result, Round, Status
from engine.runlog import read_events
from engine.snapshot import RunSnapshot
from engine.store import RoundStore
from engine.workspace import RunDir, Workspace

GRACE_SECONDS = 60.0
POLL_SECONDS = 0.25
LOCK_SECONDS = 2.0
UNFINISHED = ACTIVE | {Status.QUEUED}

EngineCommand = Callable[[RunDir], list[str]]


def engine_command(run: RunDir) -> list[str]:
    """How the engine of a round is started. `-P` keeps a stray `engine.py` in the current directory out."""
    resume = ["--resume"] if run.events.exists() else []
    return [sys.executable, "-P", "-m", "engine.training", str(run.path), *resume]


def start_runner(workspace: Workspace, command: list[str] | None = None) -> None:
    """Make sure that what is queued gets trained: start a detached runner unless one is at work.

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
    """Whether a runner holds the workspace's lock."""
    if not workspace.runner_lock.exists():
        return False
    try:
        with FileLock(workspace.runner_lock, timeout=0):
            return False
    except Timeout:
        return True


def needs_runner(rounds: list[Round]) -> bool:
    """Whether any of the rounds waits to be trained, or to have its end recorded."""
    return any(round_.status in UNFINISHED for round_ in rounds)


def result_of(snapshot: RunSnapshot, run: RunDir) -> Result:
    """What a run came to, finished or not, with the adapter it has left."""
    adapter = next((saved.path for saved in reversed(snapshot.saved) if saved.final), None)
    if snapshot.result.adapter_dir is not None or adapter is None:
        return snapshot.result
    return msgspec.structs.replace(snapshot.result, adapter_dir=f"{run.path.parent.name}/{run.path.name}/{adapter}")


class Runner:
    """Trains the queue of one workspace; see the module. `command` builds the engine's argv."""

    def __init__(self, workspace: Workspace, command: EngineCommand = engine_command) -> None:
        self._workspace = workspace
        self._store = RoundStore(workspace)
        self._command = command

    def run(self) -> None:
        """Train until nothing is left, unless another runner is at work."""
        self._workspace.runs_dir.mkdir(exist_ok=True)
        # The queue is asked once more after the lock is let go: a round added meanwhile by a front end that still
        # saw the lock held is not left behind.
        while needs_runner(self._store.rounds()):
            try:
                with FileLock(self._workspace.runner_lock, timeout=LOCK_SECONDS):
                    self._run_queue()
            except Timeout:
                return

    def _run_queue(self) -> None:
        for orphan in self._store.rounds():
            if orphan.status in ACTIVE:
                self._take_care(orphan, self._take_over)
        while (round_ := self._next_queued()) is not None:
            self._take_care(round_, self._train)

    def _take_care(self, round_: Round, act: Callable[[Round, RunDir], None]) -> None:
        try:
            run = self._workspace.run_dir(round_.id)
        except RoundError as error:
            self._store.update(round_.number, status=Status.FAILED, message=str(error))
        else:
            act(round_, run)

    def _next_queued(self) -> Round | None:
        return next((item for item in self._store.rounds() if item.status is Status.QUEUED), None)

    def _train(self, round_: Round, run: RunDir) -> None:
        try:
            self._store.update(
                round_.number,
                frozenset({Status.QUEUED}),
                status=Status.RUNNING,
                started=time.time(),
                ended=None,
                message="",
                process=None,
            )
        except RoundError:
            return  # held or removed since the queue was read
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            with run.log.open("ab") as log:
                child = subprocess.Popen(
                    self._command(run),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=run.path,
                )
        except OSError as error:
            self._record(round_, run, None, reason=f"the engine could not be started: {error}")
            return
        process = identify(child.pid)
        self._store.update(round_.number, process=process)
        killed = self._await_end(round_, lambda: child.poll() is None, process)
        self._record(round_, run, child.pid, exit_code=child.wait(), killed=killed)

    def _take_over(self, round_: Round, run: RunDir) -> None:
        """Wait for an engine whose runner died, and record how it ended."""
        process = round_.process or _last_process(run)
        killed = process is not None and self._await_end(round_, lambda: is_alive(process), process)
        self._record(round_, run, process.pid if process else None, killed=killed)

    def _await_end(self, round_: Round, running: Callable[[], bool], process: ProcessIdentity | None) -> bool:
        """Until the engine has ended; passes a wish to stop on to it, and kills it when the grace period is over.

        Returns:
            Whether it had to be killed.
        """
        killed = False
        deadline: float | None = None
        while running():
            if deadline is None and self._store.get(round_.number).status is Status.STOPPING:
                deadline = time.monotonic() + GRACE_SECONDS
                if process is not None:
                    send_signal(process, signal.SIGTERM)
            if deadline is not None and time.monotonic() > deadline and process is not None and is_alive(process):
                os.killpg(process.pid, signal.SIGKILL)  # it leads its own session, so the group is its own
                killed = True
            time.sleep(POLL_SECONDS)
        return killed

    def _record(
        self,
        round_: Round,
        run: RunDir,
        pid: int | None,
        *,
        exit_code: int | None = None,
        killed: bool = False,
        reason: str = "",
    ) -> None:
        """Write down how the engine with this pid ended: in its own last word, else by what is seen from outside."""
        snapshot = RunSnapshot(read_events(run.events))
        # An engine that died before its first word must not be given the last word of an earlier run of the round.
        spoke = snapshot.started is not None and snapshot.started.process.pid == pid
        status, message = snapshot.status, snapshot.message
        if status is None or not spoke:
            at = f" at step {snapshot.last_step.step}" if spoke and snapshot.last_step else ""
            stopping = self._store.get(round_.number).status is Status.STOPPING
            if reason:
                status, message = Status.FAILED, reason
            elif killed:
                status, message = Status.STOPPED, f"killed{at} as it did not stop within {GRACE_SECONDS:.0f} s"
            elif stopping and exit_code in (None, -signal.SIGTERM):
                status, message = Status.STOPPED, f"stopped{at or ' before the first step'}"
            else:
                status, message = _unexplained(exit_code, at, run.log)
        self._store.update(
            round_.number,
            status=status,
            message=message,
            result=result_of(snapshot, run),
            process=None,
            warnings=tuple(dict.fromkeys((*round_.warnings, *snapshot.warnings))),
            ended=snapshot.last_time if spoke else time.time(),
        )


def _last_process(run: RunDir) -> ProcessIdentity | None:
    """The engine that last took the round up."""
    events = read_events(run.events)
    return next((event.process for event in reversed(events) if isinstance(event, Started)), None)


def _unexplained(exit_code: int | None, at: str, log: Path) -> tuple[Status, str]:
    """Status and sentence for an engine that ended unasked, without a word; no exit code if not our child."""
    if exit_code is None:
        return Status.INTERRUPTED, f"the engine was gone{at} when it was looked for: resume it"
    if exit_code < 0:
        return Status.INTERRUPTED, f"the engine was killed by {signal.Signals(-exit_code).name}{at}: resume it"
    return Status.FAILED, f"the engine ended with exit code {exit_code}{at} and no reason: see {log}"


def main() -> None:
    """`python -P -m engine.runner WORKSPACE`"""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        Runner(Workspace(Path(sys.argv[1]))).run()
    except Exception:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()

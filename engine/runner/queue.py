"""The queue runner: one detached process per workspace that trains what is queued, round after round.

It holds a lock for as long as it lives, is started by whichever front end queues work, records each result whether or
not anyone watches, and ends when nothing is queued. A machine with several GPUs trains as many rounds at once. A round
that was running when a runner died is taken over: its engine is awaited if it lives, and recorded from its events if it
does not.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from engine.alerts.notify import call_by_command
from engine.alerts.run_monitor import Alarm, RunMonitor, ending_alarm
from engine.errors import RoundError, StoreError, StoreMissing
from engine.files.paths import RunDir, Workspace
from engine.runner.engine_process import RunningEngine, launch
from engine.runner.gpu_slots import GpuSlots
from engine.runner.launcher import needs_runner
from engine.runner.liveness import StallLimits
from engine.runner.outcome import ending_of, oom_kills, stall_words
from engine.runs.event_log import read_events
from engine.runs.events import Started
from engine.spec.round import ACTIVE, Round, Status, in_queue_order
from engine.store.round_store import RoundStore
from engine.system.process import ProcessIdentity
from engine.text.humanize import format_duration

POLL_SECONDS = 0.25
PLACE_SECONDS = 5.0
LOCK_SECONDS = 2.0
RETRY_SECONDS = 5.0
RETRIES = 120

EngineCommand = Callable[[RunDir], list[str]]
T = TypeVar("T")


def engine_command(run: RunDir) -> list[str]:
    """How the engine of a round is started. `-P` keeps a stray `engine.py` in the current directory out."""
    resume = ["--resume"] if run.events.exists() else []
    return [sys.executable, "-P", "-m", "engine.training", str(run.path), *resume]


class _Job:
    """A round in training, and the engine that trains it: `process`, or who says in its events after `since`."""

    def __init__(self, round_: Round, engine: RunningEngine, process: ProcessIdentity | None, since: float) -> None:
        self.number = round_.number
        self.since = since
        self.gpu = round_.gpu
        self.engine = engine
        self.watch = RunMonitor(round_, engine.run, time.time())
        self.process = process
        self.oom_before = oom_kills()
        self.missing = round_.message  # what was last said to be amiss
        self.refused = ""  # why its events could not be read


class Runner:
    """Trains the queue of one workspace; see the module. `command` builds the engine's argv, `call` tells somebody."""

    def __init__(
        self,
        workspace: Workspace,
        command: EngineCommand = engine_command,
        places: GpuSlots | None = None,
        patience: StallLimits | None = None,
        call: Callable[[Alarm], object] = call_by_command,
    ) -> None:
        self._call = call
        self._workspace = workspace
        self._store = RoundStore(workspace)
        self._command = command
        self._places = places or GpuSlots()
        self._patience = patience
        self._jobs: list[_Job] = []
        self._look_for_place_at = 0.0

    def run(self) -> None:
        """Train until nothing is left, unless another runner is at work."""
        self._workspace.runs_dir.mkdir(exist_ok=True)
        # The queue is asked once more after the lock is let go: a round added meanwhile by a front end that still
        # saw the lock held is not left behind.
        while needs_runner(self._rounds()):
            try:
                with FileLock(self._workspace.runner_lock, timeout=LOCK_SECONDS):
                    self._run_queue()
            except Timeout:
                return

    def _run_queue(self) -> None:
        for orphan in self._rounds():
            if orphan.status in ACTIVE:
                self._take_over(orphan, since=orphan.started or 0.0)
        while True:
            for job in list(self._jobs):
                self._look_after(job)
            while self._start_next():
                pass
            if not self._jobs and not needs_runner(self._rounds()):
                return
            time.sleep(POLL_SECONDS)

    def _start_next(self) -> bool:
        """Start the round that is next in the queue if there is a place for it; whether to ask again at once."""
        queued = in_queue_order(item for item in self._rounds() if item.status is Status.QUEUED)
        if not queued or time.monotonic() < self._look_for_place_at:
            return False
        is_free, gpu = self._places.free(job.gpu for job in self._jobs)
        if not is_free:
            self._look_for_place_at = time.monotonic() + (PLACE_SECONDS if len(self._jobs) else POLL_SECONDS)
            return False
        self._start(queued[0], gpu)
        return True

    def _start(self, round_: Round, gpu: str | None) -> None:
        run = self._workspace.run_dir(round_.id)
        fields = {"status": Status.RUNNING, "started": time.time(), "ended": None, "message": "", "process": None}
        try:
            round_ = self._update(round_.number, frozenset({Status.QUEUED}), **fields, gpu=gpu)
        except RoundError:
            return  # held or removed since the queue was read
        try:
            engine = launch(run, self._command(run), gpu, self._patience)
        except OSError as error:
            self._fail(round_.number, f"the engine could not be started: {error}")
            return
        if engine is None:  # one that was started by hand, or that nobody lived to write down
            self._take_over(round_, since=0.0)
            return
        job = _Job(round_, engine, engine.process, since=math.inf)
        self._jobs.append(job)
        self._update(round_.number, process=job.process)

    def _take_over(self, round_: Round, since: float) -> None:
        """Watch an engine whose runner died, or that said after `since` that it trains the round."""
        run = self._workspace.run_dir(round_.id)
        try:
            engine = RunningEngine(run, self._patience)
            known = round_.process or _last_process(run, since)
        except OSError as error:
            self._fail(round_.number, f"{run.events} cannot be read: {error.strerror}")
            return
        engine.adopt(known)
        self._jobs.append(_Job(round_, engine, known, since))

    def _fail(self, number: int, message: str) -> None:
        self._tell_end(self._update(number, status=Status.FAILED, message=message, process=None, ended=time.time()))

    def _tell_end(self, round_: Round) -> None:
        if (alarm := ending_alarm(round_)) is not None:
            self._call(alarm)

    def _look_after(self, job: _Job) -> None:
        """Watch a running engine, and record the end once it has come."""
        try:
            if job.engine.is_running():
                self._watch(job)
            else:
                self._record(job)
        except OSError as error:  # its events cannot be read
            if job.refused != (refused := f"{job.engine.run.events} cannot be read: {error.strerror}"):
                job.refused = refused
                print(refused, flush=True)
            if not job.engine.is_running():
                self._fail(job.number, refused)
                self._jobs.remove(job)

    def _watch(self, job: _Job) -> None:
        """Pass on a wish to stop, and say what is amiss."""
        engine = job.engine
        round_ = self._store_get(job.number)
        if engine.process is None:
            engine.adopt(_last_process(engine.run, job.since))
        if (process := engine.process) is not None and process != round_.process:
            job.process = process
            round_ = self._update(job.number, process=process)
        if round_.status is Status.STOPPING:
            engine.stop()
        for alarm in job.watch.take(engine.new_events()):
            self._call(alarm)
        stall = engine.stall()
        if stall is not None and stall.hopeless:
            engine.kill(f"{stall.missing} for {format_duration(stall.seconds)}")
        elif (missing := stall.missing if stall is not None else "") != job.missing:
            job.missing = missing
            self._update(job.number, message=stall_words(stall) if stall is not None else "")

    def _record(self, job: _Job) -> None:
        """Write down how a round ended, once nothing is left of its engine, on the GPU neither."""
        engine = job.engine
        engine.clear_away()
        if job.process is None:
            job.process = _last_process(engine.run, job.since)
        fields = ending_of(self._store_get(job.number), engine.run, engine, job.process, job.oom_before)
        pids = engine.pids | ({job.process.pid} if job.process is not None else set())
        if engine.killed and (held := self._places.still_held(pids)):
            fields["message"] += f"; {held} is still not free"
        self._tell_end(self._update(job.number, **fields))
        self._jobs.remove(job)
        self._look_for_place_at = 0.0

    def _rounds(self) -> list[Round]:
        return self._patiently(self._store.rounds)

    def _store_get(self, number: int) -> Round:
        return self._patiently(lambda: self._store.get(number))

    def _update(self, number: int, allowed: frozenset[Status] | None = None, **changes: Any) -> Round:
        return self._patiently(lambda: self._store.update(number, allowed, **changes))

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do it, again and again while the disk refuses: nobody may be there to start another runner."""
        said = ""
        for _ in range(RETRIES):
            try:
                return act()
            except StoreMissing:
                raise
            except StoreError as error:
                if said != str(error):
                    said = str(error)
                    print(said, flush=True)
                time.sleep(RETRY_SECONDS)
        return act()


def _last_process(run: RunDir, since: float) -> ProcessIdentity | None:
    """The engine that last took the round up, if that was after `since`, in seconds since the epoch."""
    started = [event for event in read_events(run.events, Started) if isinstance(event, Started)]
    return started[-1].process if started and started[-1].time >= since else None

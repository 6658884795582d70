"""The queue runner: one detached process per workspace that trains what is queued, round after round.

It holds a lock as long as it lives, is started by the front end that queues work, records each result whether or not
anyone watches, and ends when nothing is queued. A machine with several GPUs trains one round on each at once. A round
whose runner died is taken over by the next runner: it waits for the engine if it lives, and records the end from its
events if it does not.
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
from engine.errors import RoundError, StoreError, StoreMissing, reason_at, reason_of
from engine.files.ownership import hand_over, make_directory
from engine.files.paths import RunDir, Workspace
from engine.runner.engine_process import RunningEngine, launch
from engine.runner.gpu_slots import GpuSlots
from engine.runner.launcher import RUNNER_LOCK_VARIABLE, needs_runner
from engine.runner.liveness import StallLimits
from engine.runner.outcome import ending_of, oom_kills, stall_words
from engine.runs.event_log import read_events
from engine.runs.events import Started
from engine.spec.round import ACTIVE, Round, Status, in_queue_order
from engine.store.round_store import RoundStore
from engine.sweeps.sweep_queue import SweepQueue
from engine.system.locks import inherit_lock, release
from engine.system.process import ProcessIdentity
from engine.text.humanize import format_duration

POLL_SECONDS = 0.25
SLOT_SECONDS = 5.0
LOCK_SECONDS = 2.0
RETRY_SECONDS = 5.0
RETRIES = 120

EngineCommand = Callable[[RunDir], list[str]]
T = TypeVar("T")


def engine_command(run: RunDir) -> list[str]:
    """Return the command that starts the engine of a round. `-P` ignores an `engine.py` in the current directory."""
    resume = ["--resume"] if run.events.exists() else []
    return [sys.executable, "-P", "-m", "engine.training", str(run.path), *resume]


class _Job:
    """A round in training and its engine: `process`, or the one that starts it in its events after `since`."""

    def __init__(self, round_: Round, engine: RunningEngine, process: ProcessIdentity | None, since: float) -> None:
        self.number = round_.number
        self.since = since
        self.gpu = round_.gpu
        self.engine = engine
        self.watch = RunMonitor(round_, engine.run, time.time())
        self.process = process
        self.oom_kills_before = oom_kills()
        self.missing = round_.message  # the last reported stall
        self.refused = ""  # the reason why its events cannot be read


class Runner:
    """Trains the queue of one workspace; see the module. `command` builds the engine's argv, `call` sends an alarm."""

    def __init__(
        self,
        workspace: Workspace,
        command: EngineCommand = engine_command,
        slots: GpuSlots | None = None,
        limits: StallLimits | None = None,
        call: Callable[[Alarm], object] = call_by_command,
    ) -> None:
        self._call = call
        self._workspace = workspace
        self._store = RoundStore(workspace)
        self._command = command
        self._slots = slots or GpuSlots()
        self._sweeps = SweepQueue(workspace, self._store)
        self._limits = limits
        self._jobs: list[_Job] = []
        self._next_look_at = 0.0

    def run(self) -> None:
        """Train until the queue is empty, unless another runner is at work."""
        try:
            self._run()
        finally:
            self._sweeps.close()

    def _run(self) -> None:
        make_directory(self._workspace.runs_dir)
        if (lock := inherit_lock(RUNNER_LOCK_VARIABLE, self._workspace.runner_lock)) is not None:
            try:
                self._run_queue()
            finally:
                release(lock)
        # Check the queue once more after releasing the lock: a front end that saw the lock held may have added a round
        # meanwhile, and started no runner.
        while self._is_needed():
            try:
                with FileLock(self._workspace.runner_lock, timeout=LOCK_SECONDS):
                    self._run_queue()
            except Timeout:
                return

    def _run_queue(self) -> None:
        for orphan in self._rounds():
            if orphan.status in ACTIVE:
                self._take_over(orphan, since=orphan.started or 0.0)
        while self._is_at_home():
            for job in list(self._jobs):
                self._look_after(job)
            while self._start_next():
                pass
            if not self._jobs and not self._is_needed():
                return
            time.sleep(POLL_SECONDS)

    def _is_needed(self) -> bool:
        """Return whether a round waits, or a sweep has one to queue."""
        return needs_runner(self._rounds()) or self._retried(self._sweeps.wants_trial)

    def _is_at_home(self) -> bool:
        """Return whether the directory is still the one whose queue this is, not a copy in its place."""
        at_home = self._retried(self._store.is_at_home)
        if not at_home:
            print(f"{self._workspace.root} is a copy by now, whose rounds were trained elsewhere", flush=True)
        return at_home

    def _start_next(self) -> bool:
        """Start the next round of the queue if there is a slot for it; return True to try the one after it at once."""
        queued = in_queue_order(round_ for round_ in self._rounds() if round_.status is Status.QUEUED)
        if time.monotonic() < self._next_look_at:
            return False
        if not queued and not self._retried(self._sweeps.wants_trial):
            return False
        is_free, gpu = self._slots.free(job.gpu for job in self._jobs)
        if not is_free:
            self._next_look_at = time.monotonic() + (SLOT_SECONDS if len(self._jobs) else POLL_SECONDS)
            return False
        if not queued:  # what a person has queued goes before trials
            return self._retried(self._sweeps.look) is not None
        self._start(queued[0], gpu)
        return True

    def _start(self, round_: Round, gpu: str | None) -> None:
        run = self._workspace.run_dir(round_.id)
        fields = {"status": Status.RUNNING, "started": time.time(), "ended": None, "message": "", "process": None}
        try:
            round_ = self._update(round_.number, frozenset({Status.QUEUED}), **fields, gpu=gpu)
        except RoundError:
            return  # it was held or removed meanwhile
        try:
            engine = launch(run, self._command(run), gpu, self._limits)
        except OSError as error:
            self._fail(round_.number, f"the engine could not be started: {reason_at(error)}")
            return
        if engine is None:  # it has one, started by hand or by a runner that died
            self._take_over(round_, since=0.0)
            return
        job = _Job(round_, engine, engine.process, since=math.inf)
        self._jobs.append(job)
        self._update(round_.number, process=job.process)

    def _take_over(self, round_: Round, since: float) -> None:
        """Watch an engine whose runner died, or one that started the round after `since`."""
        run = self._workspace.run_dir(round_.id)
        try:
            engine = RunningEngine(run, self._limits)
            process = round_.process or _last_process(run, since)
        except OSError as error:
            self._fail(round_.number, f"{run.events} cannot be read: {reason_of(error)}")
            return
        engine.adopt(process)
        self._jobs.append(_Job(round_, engine, process, since))

    def _fail(self, number: int, message: str) -> None:
        self._tell_end(self._update(number, status=Status.FAILED, message=message, process=None, ended=time.time()))

    def _tell_end(self, round_: Round) -> None:
        if (alarm := ending_alarm(round_)) is not None:
            self._call(alarm)

    def _look_after(self, job: _Job) -> None:
        """Watch an engine, and record the round's end once it has ended."""
        try:
            if job.engine.is_running():
                self._watch(job)
            else:
                self._record(job)
        except OSError as error:  # its events cannot be read
            if job.refused != (refused := f"{job.engine.run.events} cannot be read: {reason_of(error)}"):
                job.refused = refused
                print(refused, flush=True)
            if not job.engine.is_running():
                self._fail(job.number, refused)
                self._jobs.remove(job)

    def _watch(self, job: _Job) -> None:
        """Stop the engine if the person wants that, and report a stall."""
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
        """Record how a round ended, after killing its engine's children and waiting for their GPU memory."""
        engine = job.engine
        engine.clear_away()
        if job.process is None:
            job.process = _last_process(engine.run, job.since)
        fields = ending_of(self._store_get(job.number), engine.run, engine, job.process, job.oom_kills_before)
        hand_over(self._workspace.runs_dir)
        pids = engine.pids | ({job.process.pid} if job.process is not None else set())
        if engine.killed and (memory := self._slots.still_held(pids)):
            fields["message"] += f"; {memory} is still not free"
        self._tell_end(self._update(job.number, **fields))
        self._jobs.remove(job)
        self._next_look_at = 0.0

    def _rounds(self) -> list[Round]:
        return self._retried(self._store.rounds)

    def _store_get(self, number: int) -> Round:
        return self._retried(lambda: self._store.get(number))

    def _update(self, number: int, allowed: frozenset[Status] | None = None, **changes: Any) -> Round:
        return self._retried(lambda: self._store.update(number, allowed, **changes))

    def _retried(self, act: Callable[[], T]) -> T:
        """Call `act`, repeatedly while the disk refuses: nobody may be there to start another runner."""
        printed = ""
        for _ in range(RETRIES):
            try:
                return act()
            except StoreMissing:
                raise
            except StoreError as error:
                if printed != str(error):
                    printed = str(error)
                    print(printed, flush=True)
                time.sleep(RETRY_SECONDS)
        return act()


def _last_process(run: RunDir, since: float) -> ProcessIdentity | None:
    """Return the process that last started the round, if it was after `since`, in seconds since the epoch."""
    started = [event for event in read_events(run.events, Started) if isinstance(event, Started)]
    return started[-1].process if started and started[-1].time >= since else None

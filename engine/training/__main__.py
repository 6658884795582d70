"""Train one round and record its events: `python -P -m engine.training RUN_DIR [--resume]`.

The exit code is 0 if the run ended in order, finished or stopped, 1 if it failed, 3 if another engine already trains
the round, 4 if the disk refuses even the event of the failure.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import LoratuiError
from engine.files.paths import RunDir, Workspace
from engine.files.permissions import set_umask
from engine.preflight.checks import is_of_bitsandbytes
from engine.runs.checkpoints import checkpoint_step, newest_valid_checkpoint
from engine.runs.engine_contract import EXIT_MUTE, LOCK_VARIABLE, Heartbeat
from engine.runs.event_log import EventWriter
from engine.runs.events import Failed, Started
from engine.runs.spec_file import read_spec
from engine.system.allowance import limit_threads
from engine.system.locks import inherit_lock
from engine.system.process import own_identity
from engine.system.user import name_user
from engine.text.redact import redact, redact_output
from engine.training.loop.recorder import Recorder
from engine.training.loop.stop import StopRequested, StopSignal
from engine.training.runtime.fast_exit import FastExit
from engine.training.runtime.imports import importing, quieten

STDERR = 2  # the file descriptor, whatever sys.stderr is
EXIT_FAILED = 1
EXIT_LOCKED = 3
DISK_ERRORS = {  # what is wrong, and the way out
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("a file exceeds the size limit", "raise `ulimit -f`"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.training")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument(
        "--resume", action="store_true", help="continue from the newest valid checkpoint, if there is one"
    )
    options = parser.parse_args()
    redact_output()
    # Relative paths follow a workspace that is moved while it trains, and make nothing anew at its old place. A runner
    # has started this process in the run directory, which may have been moved since.
    run = RunDir(Path())
    has_lock = inherit_lock(LOCK_VARIABLE, run.lock) is not None
    if not has_lock:
        if not RunDir(options.run_dir).spec.is_file():
            print(f"{options.run_dir / 'spec.json'} is missing: this is not a run directory", file=sys.stderr)
            return EXIT_FAILED
        os.chdir(options.run_dir)
    set_umask(Workspace(run.workspace_root))
    # A run that hangs writes the stacks of all threads to the log before it is killed.
    faulthandler.register(signal.SIGUSR2, file=STDERR, all_threads=True)
    if has_lock:
        return train_locked(run, options.resume)
    try:
        with FileLock(run.lock, timeout=0):
            return train_locked(run, options.resume)
    except Timeout:
        print(f"{os.path.abspath(run.path)} is already being trained by another engine", file=sys.stderr)
        return EXIT_LOCKED


def train_locked(run: RunDir, resume: bool) -> int:
    """Train while the lock of the run directory is held; return the exit code."""
    stop = StopSignal()
    stop.listen()
    try:
        writer = EventWriter(run.events)
        recorder = Recorder(writer, stop)
        try:
            with Heartbeat(run.heartbeat):
                start(run, recorder, resume)
        except BaseException as error:
            traceback.print_exc()
            recorder.append(Failed(time=time.time(), message=redact(failure_message(error, run))))
            return EXIT_FAILED
        finally:
            writer.close()
    except OSError:
        traceback.print_exc()
        return EXIT_MUTE
    return 0


def start(run: RunDir, recorder: Recorder, resume: bool) -> None:
    """Record the start first, as the heavy imports take seconds; then train."""
    run.check()
    checkpoint, damaged = newest_valid_checkpoint(run.checkpoints) if resume else (None, [])
    step = checkpoint_step(checkpoint) if checkpoint is not None else None
    recorder.append(Started(time=time.time(), process=own_identity(), resumed_from=step))
    for path in damaged:
        recorder.warn(f"{path.name} is damaged and is skipped")
    if damaged and step is None:
        recorder.warn("every checkpoint of this round is damaged: it starts again from the beginning")
    try:
        with recorder.stop.interruptible():
            recorder.phase("loading")
            spec = read_spec(run)
            with importing(spec.model, spec.data, bitsandbytes=is_of_bitsandbytes(spec.train.optim)):
                from engine.training.loop.recipe import train_round
                from engine.training.runtime.device import choose_device
        train_round(spec, run, recorder, choose_device(), step)
    except StopRequested:  # this process trained nothing, and the saved files of an earlier one are untouched
        recorder.record_early_end(step or 0, "before its first step")


def failure_message(error: BaseException, run: RunDir) -> str:
    """Return one sentence for the table on why the round of `run` failed."""
    if isinstance(error, LoratuiError):
        return error.message
    for number, (problem, way_out) in DISK_ERRORS.items():
        # safetensors raises no OSError, but its message has the number
        if (isinstance(error, OSError) and error.errno == number) or f"(os error {number})" in str(error):
            place = os.path.abspath(getattr(error, "filename", None) or run.path)
            return f"{problem} at {place}: {way_out} and resume"
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


if __name__ == "__main__":
    # Threads that wait for each other sleep soon: with libgomp's default they spin for long, and on a shared machine
    # lose most of their time to other processes. It is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # Huge pages of 2 MiB for tensors, which cause fewer TLB misses; torch reads it at its first allocation.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    name_user()
    quieten()
    limit_threads()
    end = FastExit()
    end.exit_code = main()
    sys.exit(end.exit_code)

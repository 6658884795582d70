"""`python -P -m engine.training RUN_DIR [--resume]`: train one round, and say in its events how it went.

Exits with 0 however the run ended in order, 1 when it failed, 3 when another engine trains the round already, 4 when
the disk refuses even the events that would say so.
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
from engine.runs.checkpoints import checkpoint_step, newest_valid_checkpoint
from engine.runs.engine_contract import EXIT_MUTE, Heartbeat, inherit_lock
from engine.runs.event_log import EventWriter
from engine.runs.events import Failed, Started
from engine.runs.spec_file import read_spec
from engine.system.process import own_identity
from engine.text.redact import redact, redact_output
from engine.training.loop.recorder import Recorder
from engine.training.loop.stop import StopRequested, StopSignal
from engine.training.runtime.fast_exit import FastExit
from engine.training.runtime.imports import importing, quieten

STDERR = 2  # whatever stands before it in Python
EXIT_FAILED = 1
EXIT_LOCKED = 3
REFUSALS = {  # of a disk to write: what is wrong, and the way out
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("a file may not grow as large as it must", "raise `ulimit -f`"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.training")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on from the newest valid checkpoint, if there is one")
    options = parser.parse_args()
    run = RunDir(options.run_dir.resolve())
    set_umask(Workspace(run.path.parent.parent))
    redact_output()
    if not run.spec.is_file():
        print(f"{run.spec} is not there: this is no run directory", file=sys.stderr)
        return EXIT_FAILED
    # The stacks of all threads go to the log before a run is ended that hangs.
    faulthandler.register(signal.SIGUSR2, file=STDERR, all_threads=True)
    if inherit_lock(run):
        return train_locked(run, options.resume)
    try:
        with FileLock(run.lock, timeout=0):
            return train_locked(run, options.resume)
    except Timeout:
        print(f"{run.path} is being trained by another engine", file=sys.stderr)
        return EXIT_LOCKED


def train_locked(run: RunDir, resume: bool) -> int:
    """Train with the run directory's lock held; the exit code."""
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
    """Report for work first, as the heavy imports take seconds; then train."""
    run.check()
    checkpoint, damaged = newest_valid_checkpoint(run.checkpoints) if resume else (None, [])
    step = checkpoint_step(checkpoint) if checkpoint is not None else None
    recorder.append(Started(time=time.time(), process=own_identity(), resumed_from=step))
    for path in damaged:
        recorder.warn(f"{path.name} is damaged and passed over")
    if damaged and step is None:
        recorder.warn("no checkpoint of this round is whole: it begins anew")
    try:
        with recorder.stop.interruptible():
            recorder.phase("loading")
            spec = read_spec(run)
            with importing(spec.model, spec.data):
                from engine.training.loop.recipe import train_round
                from engine.training.runtime.device import choose_device
        train_round(spec, run, recorder, choose_device(), step)
    except StopRequested:  # nothing was trained by this process, and what an earlier one saved lies where it did
        recorder.record_early_end(step or 0, "before its first step")


def failure_message(error: BaseException, run: RunDir) -> str:
    """Why the round of `run` failed, in one sentence for the table."""
    if isinstance(error, LoratuiError):
        return error.message
    for number, (refusal, way_out) in REFUSALS.items():
        # safetensors, which raises no OSError, says the number in its text
        if (isinstance(error, OSError) and error.errno == number) or f"(os error {number})" in str(error):
            return f"{refusal} at {getattr(error, 'filename', None) or run.path}: {way_out} and resume"
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


if __name__ == "__main__":
    # Threads that soon sleep while they wait for each other: spinning for as long as libgomp lets them, they lose most
    # of their time to whatever else runs on a shared machine. It is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # Tensors in pages of 2 MiB, of which a processor needs to look up fewer; torch reads it when it first allocates.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    quieten()
    end = FastExit()
    end.exit_code = main()
    sys.exit(end.exit_code)

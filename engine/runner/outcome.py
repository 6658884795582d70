"""The outcome of a run: from the engine's final event, or else from what the runner sees."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from engine.files.paths import RunDir
from engine.runner.engine_process import RunningEngine
from engine.runner.liveness import Stall
from engine.runs.engine_contract import EXIT_MUTE
from engine.runs.run_tail import RunTail
from engine.runs.snapshot import RunSnapshot, circumstances_of, plan_of, result_of
from engine.spec.round import Round, Status
from engine.system.process import ProcessIdentity, boot_id

OOM_KILL_COUNTS = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))


def oom_kills() -> int:
    """Count the processes that the kernel killed for lack of memory since boot, on this machine or in the container."""
    count = 0
    for file in OOM_KILL_COUNTS:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        count += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return count


def stall_words(stall: Stall) -> str:
    """Write the message of a run that shows no sign of life, or takes no step."""
    since = time.strftime("%H:%M", time.localtime(time.time() - stall.seconds))
    return f"stalled: the engine {stall.missing} since {since}"


def ending_of(
    round_: Round, run: RunDir, engine: RunningEngine | None, started_by: ProcessIdentity | None, oom_kills_before: int
) -> dict[str, Any]:
    """Return the new fields of a round whose engine is gone.

    Args:
        round_: as in the store.
        engine: the engine that was watched; None if it was never found.
        started_by: the engine's process.
        oom_kills_before: `oom_kills()` when watching began.
    """
    snapshot = RunSnapshot(RunTail(run.events).poll())
    # The final event of an earlier run of the round is not that of an engine that died before its first event.
    spoke = snapshot.started is not None and started_by is not None and snapshot.started.process == started_by
    status, message = snapshot.status, snapshot.message
    if status is None or not spoke:
        at = f" at step {snapshot.last_step.step}" if spoke and snapshot.last_step else ""
        status, message = _seen_from_outside(round_, run, engine, started_by, at, oom_kills_before)
    return {
        "status": status,
        "message": message,
        "plan": plan_of(snapshot, round_.spec, round_.plan),
        "result": result_of(snapshot, run),
        **circumstances_of(snapshot, run),
        "process": None,
        "warnings": tuple(dict.fromkeys((*round_.warnings, *snapshot.warnings))),
        "ended": snapshot.last_time if spoke else time.time(),
    }


def _seen_from_outside(
    round_: Round,
    run: RunDir,
    engine: RunningEngine | None,
    started_by: ProcessIdentity | None,
    at: str,
    oom_kills_before: int,
) -> tuple[Status, str]:
    """Return status and message for an engine without a final event; `at` is " at step N" if the step is known."""
    stopping = round_.status is Status.STOPPING
    if engine is not None and engine.killed:
        return Status.STOPPED if stopping else Status.INTERRUPTED, f"killed{at}, as it {engine.killed}"
    if stopping:
        return Status.STOPPED, f"stopped{at or ' before the first step'}"
    code = engine.exit_code if engine is not None else None
    if code is None:
        if started_by is not None and started_by.boot_id != boot_id():
            return Status.INTERRUPTED, f"the machine was restarted{at}: resume it"
        return Status.INTERRUPTED, f"the engine was gone{at} when the runner looked for it: resume it"
    if code < 0:
        likely = ", likely the kernel's out-of-memory killer" if _by_oom_killer(code, oom_kills_before) else ""
        return Status.INTERRUPTED, f"killed by signal {-code} ({_signal_name(-code)}){at}{likely}: resume it"
    if code == EXIT_MUTE:
        return Status.FAILED, f"the engine could not write to the disk{at}: free some space and resume"
    return Status.FAILED, f"the engine ended with exit code {code}{at} and no reason: see {run.log}"


def _by_oom_killer(exit_code: int, oom_kills_before: int) -> bool:
    return exit_code == -signal.SIGKILL and oom_kills() > oom_kills_before


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a real-time signal"

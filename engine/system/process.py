"""Who a process is, so that no stranger is ever taken for ours: boot id, pid and start time together.

A pid alone is reused, and psutil's `create_time()` moves with the wall clock; field 22 of `/proc/<pid>/stat` counts
clock ticks since boot and does not (proc(5)). What belongs together is known by a lock that is handed from process to
process, and by a variable in the environment that every child inherits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import psutil
from msgspec import Struct

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ProcessIdentity(Struct, frozen=True):
    """One process of one boot of this machine; `start_ticks` counts from that boot."""

    boot_id: str
    pid: int
    start_ticks: int


def boot_id() -> str:
    """Names this boot of the machine."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else sys.platform


def _start_ticks(pid: int) -> int | None:
    """Start time of a live process; None when there is none, or only its zombie."""
    if not BOOT_ID.exists():  # no /proc, as on macOS, whose kernel keeps the start time itself
        try:
            return int(psutil.Process(pid).create_time() * 100)
        except psutil.Error:
            return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a live process, None if there is none with this pid."""
    ticks = _start_ticks(pid)
    return None if ticks is None else ProcessIdentity(boot_id(), pid, ticks)


def own_identity() -> ProcessIdentity:
    """The identity of the calling process."""
    identity = identify(os.getpid())
    assert identity is not None
    return identity


def is_alive(process: ProcessIdentity) -> bool:
    """Whether exactly this process still runs; a zombie counts as dead."""
    return identify(process.pid) == process


def send_signal(process: ProcessIdentity, signum: signal.Signals) -> bool:
    """Signal exactly this process; False if it is gone. Where the system has pidfds no other can be hit by a race."""
    if not hasattr(os, "pidfd_open"):
        if is_alive(process):
            os.kill(process.pid, signum)
            return True
        return False
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(process):  # asked after the pidfd was taken: it cannot change beneath us any more
            return False
        signal.pidfd_send_signal(handle, signum)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def has_variable(pid: int, variable: str) -> bool:
    """Whether a live process of this user was started with an environment variable, or inherited it."""
    with contextlib.suppress(psutil.Error, OSError):
        return variable in psutil.Process(pid).environ()
    return False


def processes_with(variable: str, value: str) -> list[ProcessIdentity]:
    """Live processes of this user that were started with an environment variable of this value, or inherited it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(variable) == value and (identity := identify(process.pid)) is not None:
                found.append(identity)
    return found

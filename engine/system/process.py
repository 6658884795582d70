"""Identify a process by boot id, pid and start time together, so that no other process is taken for ours.

A pid alone is reused, and psutil's `create_time()` moves with the wall clock; field 22 of `/proc/<pid>/stat` counts
clock ticks since boot and does not (proc(5)). Processes that belong together share an inherited lock, and a variable in
the environment that every child inherits.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ProcessIdentity(Struct, frozen=True):
    """One process in one boot of this machine; `start_ticks` counts from that boot."""

    boot_id: str
    pid: int
    start_ticks: int


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else sys.platform


def _start_ticks(pid: int) -> int | None:
    """Return the start time of a live process; None if there is no such process, or only a zombie."""
    if not BOOT_ID.exists():  # no /proc, as on macOS, whose kernel keeps the start time itself
        import psutil

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
    """Return the identity of a live process, None if no live process has this pid."""
    ticks = _start_ticks(pid)
    return None if ticks is None else ProcessIdentity(boot_id(), pid, ticks)


def own_identity() -> ProcessIdentity:
    """Return the identity of the calling process."""
    identity = identify(os.getpid())
    assert identity is not None
    return identity


@functools.cache
def has_shell_to_continue_it() -> bool:
    """Return True if a shell that started this process can continue it once it is stopped.

    A terminal multiplexer, `ssh -t HOST COMMAND` or a container may start it without one: its process group is orphaned
    then (POSIX, 3.264), and if it were stopped its terminal would be mute for ever.
    """
    with contextlib.suppress(OSError):  # it has just ended
        for parent in _ancestors():
            if os.getpgid(parent) != os.getpgrp():
                return os.getsid(parent) == os.getsid(0)
    return False


def _ancestors() -> Iterator[int]:
    """Yield the pids of this process's ancestors, its parent first: as a rule nobody asks for another."""
    yield os.getppid()
    import psutil

    with contextlib.suppress(psutil.Error):
        yield from (ancestor.pid for ancestor in psutil.Process().parents()[1:])


def is_alive(process: ProcessIdentity) -> bool:
    """Return True if exactly this process still runs; a zombie counts as dead."""
    return identify(process.pid) == process


def send_signal(process: ProcessIdentity, signum: signal.Signals) -> bool:
    """Signal exactly this process; False if it has ended. With pidfds no race can hit another process."""
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
        if not is_alive(process):  # checked after the pidfd was opened, so that the pid cannot be reused in between
            return False
        signal.pidfd_send_signal(handle, signum)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def has_variable(pid: int, variable: str) -> bool:
    """Return True if a live process of this user has an environment variable, set or inherited at its start."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return variable in psutil.Process(pid).environ()
    return False


def has_open(process: ProcessIdentity, path: Path) -> bool:
    """Return True if a live process of this user has a file open, whatever its path was when it was opened."""
    try:
        wanted = os.stat(path)
    except OSError:
        return False
    for name in _open_files(process.pid):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(name), wanted):
                return is_alive(process)
    return False


def _open_files(pid: int) -> list[str]:
    """Return paths to the open files of a process; empty if it is gone or another user's."""
    if BOOT_ID.exists():
        with contextlib.suppress(OSError):
            return [entry.path for entry in os.scandir(f"/proc/{pid}/fd")]
        return []
    import psutil

    with contextlib.suppress(psutil.Error):
        return [file.path for file in psutil.Process(pid).open_files()]
    return []


def processes_with(variable: str, value: str) -> list[ProcessIdentity]:
    """Return the live processes of this user that have an environment variable of this value."""
    import psutil

    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(variable) == value and (identity := identify(process.pid)) is not None:
                members.append(identity)
    return members

"""Keep a process alive when its user logs out, as far as systemd allows it (logind.conf(5), loginctl(1)).

With lingering on, the user's service manager survives the last logout, and so do the scopes that it manages. With
lingering off a process is better left in its session, which by itself ends nothing.
"""

from __future__ import annotations

import os
import subprocess
from typing import Literal

SECONDS = 10.0
Lingering = Literal["on", "off", "no systemd"]


def lingering() -> Lingering:
    """Ask whether the user's processes may outlive the last logout."""
    answer = _ask(["loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value"])
    if answer is None:
        return "no systemd"
    return "on" if answer.strip() == "yes" else "off"


def move_to_own_scope(name: str) -> bool:
    """Move this process from its login session into a scope of the user's service manager; True if that worked.

    logind ends sessions, and systemd-oomd whole groups of processes: a process in its own scope survives both.
    """
    pid = str(os.getpid())
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    unit = ["StartTransientUnit", "ssa(sv)a(sa(sv))", f"{name}-{pid}.scope", "fail", "1", "PIDs", "au", "1", pid, "0"]
    return lingering() == "on" and _ask(["busctl", "--user", "call", *manager, *unit]) is not None


def _ask(command: list[str]) -> str | None:
    """Return the output of a program of systemd; None if the program is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
